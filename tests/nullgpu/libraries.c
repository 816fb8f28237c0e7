// cuBLAS, cuBLASLt, cuDNN: every call succeeds and does nothing; products and the like count as one launch.
#include <stddef.h>
#include <string.h>
#include <stdlib.h>
long nullgpu_external(const char*);
#define OK(name) int name() { return 0; }
#define RUN(name) int name() { nullgpu_external(#name); return 0; }
#define NEW(name) int name(void **p) { *p = calloc(1, 4096); return 0; }
NEW(cublasCreate_v2) OK(cublasDestroy_v2) OK(cublasSetStream_v2) OK(cublasSetWorkspace_v2) OK(cublasSetMathMode) OK(cublasSetPointerMode_v2) OK(cublasSetSmCountTarget)
int cublasGetMathMode(void* h, int* m) { *m = 0; return 0; }
int cublasGetPointerMode_v2(void* h, int* m) { *m = 0; return 0; }
RUN(cublasGemmEx) RUN(cublasGemmStridedBatchedEx) RUN(cublasSgemmEx)
RUN(cublasSgemm_v2) RUN(cublasDgemm_v2) RUN(cublasSgemmStridedBatched) RUN(cublasDgemmStridedBatched)
RUN(cublasSgemv_v2) RUN(cublasDgemv_v2) RUN(cublasDotEx) RUN(cublasSdot_v2) RUN(cublasDdot_v2)
NEW(cublasLtCreate) OK(cublasLtDestroy)
size_t cublasLtGetVersion() { return 130101; }
NEW(cublasLtMatmulDescCreate) OK(cublasLtMatmulDescDestroy) OK(cublasLtMatmulDescSetAttribute)
NEW(cublasLtMatmulPreferenceCreate) OK(cublasLtMatmulPreferenceDestroy) OK(cublasLtMatmulPreferenceSetAttribute)
NEW(cublasLtMatrixLayoutCreate) OK(cublasLtMatrixLayoutDestroy) OK(cublasLtMatrixLayoutSetAttribute)
RUN(cublasLtMatmul)
int cublasLtMatmulAlgoGetHeuristic(void*h, void*d, void*a, void*b, void*c, void*e, void*p, int want, void* results, int* n) { memset(results, 0, 96); *n = 1; return 0; }
size_t cudnnGetVersion() { const char* v = getenv("NULLGPU_CUDNN"); return v ? atol(v) : 92400; }
size_t cudnnGetCudartVersion() { return 13000; }
const char* cudnnGetErrorString() { return "null cuDNN"; }
void cudnnGetLastErrorString(char* s, size_t n) { strncpy(s, "null cuDNN", n); }
NEW(cudnnCreate) OK(cudnnDestroy) OK(cudnnSetStream)
NEW(cudnnCreateTensorDescriptor) OK(cudnnDestroyTensorDescriptor) OK(cudnnSetTensorNdDescriptor)
RUN(cudnnBatchNormalizationBackwardEx) RUN(cudnnBatchNormalizationForwardInference) RUN(cudnnBatchNormalizationForwardTrainingEx)
int cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(void*h,int m,int o,void*x,void*z,void*y,void*b,void*a,size_t*s){*s=0;return 0;}
int cudnnGetBatchNormalizationBackwardExWorkspaceSize(void*h,int m,int o,void*x,void*y,void*dy,void*dz,void*dx,void*d,void*a,size_t*s){*s=0;return 0;}
int cudnnGetBatchNormalizationTrainingExReserveSpaceSize(void*h,int m,int o,void*a,void*x,size_t*s){*s=0;return 0;}
// Recurrent layers: the size is larger than any weights are, so torch takes them as they are.
NEW(cudnnCreateRNNDescriptor) OK(cudnnDestroyRNNDescriptor) OK(cudnnSetRNNDescriptor_v8)
NEW(cudnnCreateDropoutDescriptor) OK(cudnnDestroyDropoutDescriptor)
OK(cudnnSetDropoutDescriptor) OK(cudnnRestoreDropoutDescriptor)
int cudnnDropoutGetStatesSize(void* h, size_t* n) { *n = 64; return 0; }
int cudnnGetRNNWeightSpaceSize(void* h, void* d, size_t* n) { *n = (size_t)1 << 40; return 0; }
NEW(cusolverDnCreate) OK(cusolverDnDestroy) OK(cusolverDnSetStream) NEW(cusolverDnCreateParams) OK(cusolverDnDestroyParams)
int cusolverDnDsyevd_bufferSize(void*h,int j,int u,int n,void*A,int l,void*w,int*s){*s=64;return 0;}
int cusolverDnSsyevd_bufferSize(void*h,int j,int u,int n,void*A,int l,void*w,int*s){*s=64;return 0;}
RUN(cusolverDnDsyevd) RUN(cusolverDnSsyevd)
int cusolverDnXsyevd_bufferSize(void*h,void*p,int j,int u,long n,int ta,void*A,long lda,int tw,void*W,int tc,size_t*d,size_t*s){*d=64;*s=64;return 0;}
RUN(cusolverDnXsyevd)
int cusolverDnDsyevjBatched_bufferSize(void*h,int j,int u,int n,void*A,int l,void*w,int*s){*s=64;return 0;}
RUN(cusolverDnDsyevjBatched)
