/* Trains the network that examples/elsewhere.py exported, and prints the first and the last loss. */
#include "step.h"

#include <math.h>
#include <stdio.h>

int main(void) {
    float x[64], y[64], loss, first = 0;
    for (int i = 0; i < 64; i++) {
        x[i] = -1 + i * 2.0f / 63;
        y[i] = sinf(3 * x[i]);
    }
    for (int k = 0; k < 500; k++) {
        if (step(x, y, &loss) != 0) return 1;
        if (k == 0) first = loss;
    }
    printf("%g %g\n", first, loss);
    return 0;
}
