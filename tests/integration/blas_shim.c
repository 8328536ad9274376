// An OpenBLAS that flips the last bit of a product's first element: what a library update may do.
// REAL names the library behind it. With WITHOUT_DGEMM it lacks a symbol,
// with NAMELESS it does not say for which CPU it chose its kernels.
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

static void* real(const char* name) {
  static void* library;
  if (library == NULL) library = dlopen(REAL, RTLD_NOW | RTLD_LOCAL);
  return dlsym(library, name);
}

void cblas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float* a,
                 int lda, const float* b, int ldb, float beta, float* c, int ldc) {
  typedef void (*Product)(int, int, int, int, int, int, float, const float*, int, const float*, int,
                          float, float*, int);
  uint32_t bits;
  ((Product)real("cblas_sgemm"))(order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  memcpy(&bits, c, sizeof bits);
  bits ^= 1;
  memcpy(c, &bits, sizeof bits);
}

#ifndef WITHOUT_DGEMM
void cblas_dgemm(int order, int ta, int tb, int m, int n, int k, double alpha, const double* a,
                 int lda, const double* b, int ldb, double beta, double* c, int ldc) {
  typedef void (*Product)(int, int, int, int, int, int, double, const double*, int, const double*,
                          int, double, double*, int);
  ((Product)real("cblas_dgemm"))(order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
#endif

void openblas_set_num_threads(int n) {
  ((void (*)(int))real("openblas_set_num_threads"))(n);
}
int openblas_get_num_threads(void) {
  return ((int (*)(void))real("openblas_get_num_threads"))();
}
char* openblas_get_corename(void) {
#ifdef NAMELESS
  return "";
#endif
  return ((char* (*)(void))real("openblas_get_corename"))();
}
char* openblas_get_config(void) {
  return ((char* (*)(void))real("openblas_get_config"))();
}
