/* A libcuda in the memory of the host, for tests of the calls themselves. Kernels are what the test
   does when `stub_kernel` is called. Environment: STUB_DRIVER is the version, STUB_DEVICES how many GPUs there are. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t word;
typedef void *handle;
typedef struct { handle function; unsigned blocks, threads; word args; } launch;
typedef struct { int count; launch all[256]; } graph;
static int current;
static graph *capturing;
static word held;
void (*stub_kernel)(handle function, unsigned blocks, unsigned threads, word args);

static int number(const char *name, int usual) {
    const char *text = getenv(name);
    return text ? atoi(text) : usual;
}
int cuInit(unsigned flags) { return number("STUB_DEVICES", 2) ? 0 : 100; }
int cuDriverGetVersion(int *v) { *v = number("STUB_DRIVER", 13000); return 0; }
int cuGetErrorString(int code, const char **text) {
    *text = code == 700 ? "an illegal memory access was encountered"
          : code == 2 ? "out of memory" : "invalid argument";
    return 0;
}
int cuDeviceGetCount(int *n) { *n = number("STUB_DEVICES", 2); return 0; }
int cuDeviceGet(int *d, int ordinal) { *d = ordinal + 40; return 0; }
int cuDeviceGetName(char *name, int n, int d) { snprintf(name, n, "Stub %d", d - 40); return 0; }
int cuDeviceTotalMem_v2(size_t *n, int d) { *n = (size_t)1 << 30; return 0; }
int cuDeviceGetAttribute(int *v, int which, int d) {
    *v = which == 75 ? 9 : which == 76 ? 0 : which == 16 ? 132 : -1;
    return d < 40;
}
int cuDevicePrimaryCtxRetain(handle *c, int d) { *c = (handle)(word)(d - 39); return d < 40; }
int cuCtxSetCurrent(handle c) { current = (int)(word)c; return 0; }
int cuCtxSynchronize(void) { return capturing != NULL; }
int cuMemAlloc_v2(word *a, size_t n) {
    if (!current || capturing) return 201;
    if (held + n > (1u << 30)) return 2;
    held += n;
    *a = (word)calloc(1, n + 8);
    *(word *)*a = n;
    *a += 8;
    return 0;
}
int cuMemFree_v2(word a) { held -= *(word *)(a - 8); free((void *)(a - 8)); return capturing != NULL; }
int cuMemGetInfo_v2(size_t *f, size_t *t) { *t = 1u << 30; *f = *t - held; return 0; }
int cuMemHostAlloc(handle *p, size_t n, unsigned flags) { *p = calloc(1, n); return flags != 3 && flags != 1; }
int cuMemHostGetDevicePointer_v2(word *a, handle p, unsigned f) { *a = (word)p; return 0; }
int cuMemFreeHost(handle p) { free(p); return 0; }
int cuMemcpyHtoDAsync_v2(word to, const void *from, size_t n, handle s) {
    memcpy((void *)to, from, n);
    return capturing != NULL;
}
int cuMemcpyDtoHAsync_v2(void *to, word from, size_t n, handle s) {
    memcpy(to, (void *)from, n);
    return capturing != NULL;
}
int cuMemcpyDtoDAsync_v2(word to, word from, size_t n, handle s) {
    memcpy((void *)to, (void *)from, n);
    return 0;
}
int cuStreamCreate(handle *s, unsigned flags) {
    static word streams = 1000;
    *s = (handle)++streams;
    return 0;
}
int cuStreamSynchronize(handle s) { return number("STUB_FAULT", 0); }
int cuStreamQuery(handle s) { return number("STUB_EVENT", 0); }
int cuStreamWaitEvent(handle s, handle e, unsigned flags) { return 0; }
int cuStreamBeginCapture_v2(handle s, int mode) {
    capturing = calloc(1, sizeof(graph));
    return mode != 2;
}
int cuStreamEndCapture(handle s, handle *g) { *g = capturing; capturing = NULL; return 0; }
int cuEventCreate(handle *e, unsigned flags) { *e = malloc(8); return 0; }
int cuEventRecord(handle e, handle s) { return 0; }
int cuEventSynchronize(handle e) { return number("STUB_FAULT", 0); }
int cuEventQuery(handle e) { return number("STUB_EVENT", 0); }
int cuEventElapsedTime(float *t, handle a, handle b) { *t = 2.5f; return 0; }
int cuEventDestroy_v2(handle e) { free(e); return 0; }
int cuModuleLoadData(handle *m, const void *code) { *m = strdup(code); return capturing != NULL; }
int cuModuleGetFunction(handle *f, handle m, const char *name) { *f = m; return 0; }
int cuLaunchKernel(handle f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, handle s, void **params, void **extra) {
    launch one = {f, gx, bx, *(word *)params[0]};
    if (gy * gz * by * bz != 1 || extra) return 1;
    if (capturing) capturing->all[capturing->count++] = one;
    else stub_kernel(one.function, one.blocks, one.threads, one.args);
    return 0;
}
int cuGraphInstantiateWithFlags(handle *e, handle g, unsigned long long flags) {
    *e = memcpy(malloc(sizeof(graph)), g, sizeof(graph));
    return 0;
}
int cuGraphLaunch(handle e, handle s) {
    graph *g = e;
    for (int k = 0; k < g->count; k++)
        stub_kernel(g->all[k].function, g->all[k].blocks, g->all[k].threads, g->all[k].args);
    return capturing != NULL;
}
int cuGraphExecDestroy(handle e) { free(e); return 0; }
int cuGraphDestroy(handle g) { free(g); return 0; }
