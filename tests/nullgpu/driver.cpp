// The driver functions that torch asks for, without a driver.
#include <cuda.h>
#include <cstring>
#include <cstdio>
typedef CUresult R;
extern "C" {
long nullgpu_external(const char*) __attribute__((weak));
R cuInit(unsigned) { return CUDA_SUCCESS; }
R cuDriverGetVersion(int* v) { *v = 13000; return CUDA_SUCCESS; }
R cuDeviceGet(CUdevice* d, int n) { *d = n; return CUDA_SUCCESS; }
R cuDeviceGetCount(int* n) { *n = 1; return CUDA_SUCCESS; }
R cuDeviceGetAttribute(int* v, CUdevice_attribute a, CUdevice) { *v = 0; return CUDA_SUCCESS; }
R cuDevicePrimaryCtxGetState(CUdevice, unsigned* f, int* active) { *f = 0; *active = 1; return CUDA_SUCCESS; }
static int context;
R cuDevicePrimaryCtxRetain(CUcontext* c, CUdevice) { *c = (CUcontext)&context; return CUDA_SUCCESS; }
R cuCtxGetCurrent(CUcontext* c) { *c = (CUcontext)&context; return CUDA_SUCCESS; }
R cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }
R cuCtxGetDevice(CUdevice* d) { *d = 0; return CUDA_SUCCESS; }
R cuGetErrorString(CUresult, const char** s) { *s = "null driver"; return CUDA_SUCCESS; }
R cuGetErrorName(CUresult, const char** s) { *s = "null driver"; return CUDA_SUCCESS; }
R cuModuleLoad(CUmodule* m, const char*) { *m = nullptr; return CUDA_SUCCESS; }
R cuModuleLoadData(CUmodule* m, const void*) { *m = nullptr; return CUDA_SUCCESS; }
R cuModuleLoadDataEx(CUmodule* m, const void*, unsigned, CUjit_option*, void**) { *m = nullptr; return CUDA_SUCCESS; }
R cuModuleUnload(CUmodule) { return CUDA_SUCCESS; }
R cuModuleGetFunction(CUfunction* f, CUmodule, const char*) { *f = (CUfunction)&context; return CUDA_SUCCESS; }
R cuFuncGetAttribute(int* v, CUfunction_attribute, CUfunction) { *v = 0; return CUDA_SUCCESS; }
R cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }
R cuFuncSetCacheConfig(CUfunction, CUfunc_cache) { return CUDA_SUCCESS; }
R cuLaunchKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void**, void**) { if (nullgpu_external) nullgpu_external("jiterator"); return CUDA_SUCCESS; }
R cuLaunchCooperativeKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void**) { return CUDA_SUCCESS; }
R cuLinkAddData_v2(CUlinkState, CUjitInputType, void*, size_t, const char*, unsigned, CUjit_option*, void**) { return CUDA_SUCCESS; }
R cuLinkComplete(CUlinkState, void**, size_t*) { return CUDA_SUCCESS; }
R cuLinkCreate_v2(unsigned, CUjit_option*, void**, CUlinkState* s) { *s = nullptr; return CUDA_SUCCESS; }
R cuOccupancyMaxActiveBlocksPerMultiprocessor(int* n, CUfunction, int, size_t) { *n = 8; return CUDA_SUCCESS; }
R cuPointerGetAttribute(void* v, CUpointer_attribute, CUdeviceptr) { return CUDA_SUCCESS; }
R cuTensorMapEncodeTiled(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*, const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) { return CUDA_SUCCESS; }
}
