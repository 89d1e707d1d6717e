"""A program as the emitter would make it, but by hand: a model that adds 1 to each of four bytes."""

from tinycompiler.emit import Program

HEADER = """\
#include <stdint.h>
int tc_toy_init(void);
void *tc_toy_input(int index);
const void *tc_toy_output(int index);
void tc_toy_invoke(void);
void tc_toy_reset_state(void);
"""

MODEL_HEADER = """\
#include "toy.h"
#define MODEL_NAME "toy"
#define MODEL_INPUTS 1
#define MODEL_OUTPUTS 1
#define MODEL_INPUT_BYTES 4
static inline int model_init(void) { return tc_toy_init(); }
static inline void *model_input(int index) { return tc_toy_input(index); }
static inline unsigned model_input_bytes(int index) { (void)index; return 4; }
static inline const void *model_output(int index) { return tc_toy_output(index); }
static inline unsigned model_output_bytes(int index) { (void)index; return 4; }
static inline void model_invoke(void) { tc_toy_invoke(); }
static inline void model_reset_state(void) { tc_toy_reset_state(); }
"""

SOURCE = """\
#include "toy.h"
static uint8_t tc_toy_arena[64] __attribute__((aligned(16)));
static uint8_t tc_toy_state[12];
extern const uint8_t tc_toy_w_0[];
static const uint8_t tc_toy_t_0[2] = {0, 1};
#ifdef TC_NODE_HOOK
extern void tc_node_hook(int node, int output, unsigned offset, const void *data, unsigned bytes);
#endif
@EXTRA@
int tc_toy_init(void) { tc_toy_reset_state(); return 0; }
void *tc_toy_input(int index) { (void)index; return tc_toy_arena; }
const void *tc_toy_output(int index) { (void)index; return tc_toy_arena + 8; }
void tc_toy_reset_state(void) { for (int i = 0; i < 12; ++i) { ((volatile uint8_t *)tc_toy_state)[i] = 0; } }
static __attribute__((noinline)) void tc_toy_node_0(void)
{
    volatile const uint8_t *const table = tc_toy_t_0;
    for (int i = 0; i < 4; ++i) { tc_toy_arena[8 + i] = (uint8_t)(tc_toy_arena[i] + tc_toy_w_0[i] * table[1]); }
    @NODE@
}
void tc_toy_invoke(void)
{
    tc_toy_node_0();
#ifdef TC_NODE_HOOK
    tc_node_hook(0, 0, 0, tc_toy_arena + 8, 4);
#endif
}
"""


def toy(*, extra: str = "", node: str = "", weights: int = 4) -> Program:
    """The program; `extra` goes before its functions, `node` into its only node, `weights` is their size in bytes."""
    files = {
        "toy.h": HEADER,
        "model.h": MODEL_HEADER,
        "toy.c": SOURCE.replace("@EXTRA@", extra).replace("@NODE@", node),
        "toy_weights.c": f'#include "toy.h"\nextern const uint8_t tc_toy_w_0[{weights}];\n'
        f"const uint8_t tc_toy_w_0[{weights}] = {{1, 1, 1, 1}};\n",
        "manifest.json": "{}\n",
    }
    return Program("toy", files, "0" * 64)
