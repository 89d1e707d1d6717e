/* Runs the network on the machine it was compiled on: inputs from standard input, outputs to standard output, as raw bytes. */
#include "model.h"

#include <stdio.h>

int main(void)
{
    if (model_init() != 0)
        return 1;
    for (;;) {
        for (int index = 0; index < MODEL_INPUTS; index++) {
            const size_t wanted = model_input_bytes(index);
            const size_t got = fread(model_input(index), 1, wanted, stdin);
            if (got != wanted)
                return index == 0 && got == 0 ? 0 : 1;
        }
        model_invoke();
        for (int index = 0; index < MODEL_OUTPUTS; index++)
            if (fwrite(model_output(index), 1, model_output_bytes(index), stdout) != model_output_bytes(index))
                return 1;
    }
}
