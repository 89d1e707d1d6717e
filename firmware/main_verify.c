/* Runs the model on the embedded test inputs and says what came out. Knows the model, the inputs and the protocol only. */
#include <string.h>

#include "console.h"
#include "model.h"
#include "protocol.h"
#include "startup.h"
#include "vectors.h"

#ifdef TC_NODE_HOOK
static unsigned current_vector;

void tc_node_hook(int node, int output, unsigned offset, const void *data, unsigned bytes);
void tc_node_hook(int node, int output, unsigned offset, const void *data, unsigned bytes)
{
    protocol_begin("tc:node");
    protocol_number(current_vector);
    protocol_number((uint32_t)node);
    protocol_number((uint32_t)output);
    protocol_number(offset);
    protocol_bytes(data, bytes);
    protocol_end();
}
#endif

_Static_assert(VECTOR_BYTES == MODEL_INPUT_BYTES, "the test inputs are not as long as the model's inputs");

static void run(unsigned vector)
{
    const unsigned char *data = vector_data + (size_t)vector * MODEL_INPUT_BYTES;
    for (int index = 0; index < MODEL_INPUTS; ++index) {
        memcpy(model_input(index), data, model_input_bytes(index));
        data += model_input_bytes(index);
    }
    model_invoke();
}

static void print_outputs(unsigned vector)
{
    for (int index = 0; index < MODEL_OUTPUTS; ++index) {
        protocol_begin("tc:output");
        protocol_number(vector);
        protocol_number((uint32_t)index);
        protocol_bytes(model_output(index), model_output_bytes(index));
        protocol_end();
    }
}

static void print_number(const char *text, uint32_t value)
{
    protocol_begin(text);
    protocol_number(value);
    protocol_end();
}

int main(void)
{
    console_init();
    print_number("tc:hello " MODEL_NAME, vector_count);
    (void)model_init();
    for (unsigned vector = 0; vector < vector_count; ++vector) {
#ifdef TC_NODE_HOOK
        current_vector = vector;
#endif
        run(vector);
        print_outputs(vector);
    }
    print_number("tc:stack", startup_stack_high_water());
    print_number("tc:done", vector_count * MODEL_OUTPUTS);
    for (;;) {
    }
}
