/* The test inputs: vector_count vectors of MODEL_INPUT_BYTES each, in the section .tc_vectors. */
#ifndef VECTORS_H
#define VECTORS_H

extern const unsigned vector_count;
extern const unsigned char vector_data[];

#endif
