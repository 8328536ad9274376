/* The plug-in interface of Isobit, version 1: somebody's kernels as operations of the forward pass.
 *
 * A plugin is a shared library, written in C99, C++, CUDA or anything that can call C. It exports
 *
 *   const uint32_t isobit_plugin_abi = ISOBIT_PLUGIN_ABI;
 *   int32_t isobit_plugin_open(const isobit_host *host, isobit_plugin *plugin);
 *
 * and puts the operations that it has into the table `plugin`. An operation that it leaves null is
 * computed by Isobit's reference, and what was observed names both kinds. Before
 * isobit_plugin_open() is called, isobit_plugin_abi is read: a plugin of another version is refused
 * with one line.
 *
 * Versions. Within one version structures only grow at their ends. Each begins with `size`, the
 * bytes that Isobit has filled or will read: a plugin that was compiled with a newer header of the
 * same version compares it before it touches a later member. Any other change is another version.
 *
 * Threads. Every rank opens the plugin by itself, and so do the steps that load weights: `open` may
 * be called several times in a process, and calls with different states may run at the same time.
 * Calls with one state never overlap.
 *
 * What is checked around every call; each is one line in the report and fails that cell alone:
 *   - the floating-point control word of the calling thread (rounding, flushing) is as it was;
 *   - nothing was written outside an output or scratch block, nor between two rows of an output;
 *   - the activations that were given are as they were;
 *   - every value of the output was written, and no row has a NaN that its inputs cannot give;
 *   - the call returned 0 and threw nothing. A crash and a hang end the worker process.
 *
 * NaN. A row's inputs cannot give one while they are finite and a bound of all that may be made of
 * them on the way, in whatever order, is below half of the largest Real. The bound of gemm is
 * max|x of the row| * max|w| * K. That of attention is the greater one of
 * 2 * max|q of the row| * max|k| * head_dim * max(scale, 1) and max|v| * positions; that of norms
 * max(|x|, 1)^2 * cols * max(|weight|, 1), in layer_norm with twice x and with |bias| added; those
 * of activations have the third power of max(|x|, 1). Beyond, inf - inf may be right.
 */
#ifndef ISOBIT_PLUGIN_ABI_H
#define ISOBIT_PLUGIN_ABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ISOBIT_PLUGIN_ABI 1u
#define ISOBIT_PLUGIN_EXPORT __attribute__((visibility("default")))

/* Formats of numbers: what values are exact in, and how elements are stored. */
enum {
  ISOBIT_F64 = 0,
  ISOBIT_F32 = 1,
  ISOBIT_TF32 = 2, /* fp32 with 10 fraction bits; stored as F32 */
  ISOBIT_BF16 = 3,
  ISOBIT_FP16 = 4,
  ISOBIT_E4M3 = 5, /* stored as F32 */
  ISOBIT_E5M2 = 6  /* stored as F32 */
};

enum { ISOBIT_CPU = 0, ISOBIT_CUDA = 1 };
enum { ISOBIT_SILU = 0, ISOBIT_GELU_TANH = 1 };

/* What the elements of a product's operands are, chosen by the plugin (isobit_plugin.operands). */
enum {
  ISOBIT_OPERANDS_REAL = 0,  /* Reals: fp32, fp64 in precision fp64 */
  ISOBIT_OPERANDS_STORED = 1 /* raw 16-bit elements where the format is BF16 or FP16, else Reals */
};

/* Rows that are read. A Real is fp32, fp64 in precision fp64. The memory is the device's: host
 * memory on ISOBIT_CPU, memory of the GPU on ISOBIT_CUDA. */
typedef struct isobit_rows {
  const void* data; /* first element of the first row */
  int64_t rows, cols;
  int64_t stride; /* elements from one row to the next, at least cols */
  int32_t
      element;    /* ISOBIT_F32 or ISOBIT_F64; ISOBIT_BF16, ISOBIT_FP16 where they were asked for */
  int32_t format; /* every value is exact in this format */
} isobit_rows;

/* Rows to be written, Reals in the device's memory. `stride` is greater than cols, and what lies
 * between two rows must stay as it is. In the forward pass of a model 64 divides the address; in a
 * scenario of one operation the axes `align` and `stride` move the rows as they move operands. */
typedef struct isobit_out {
  void* data;
  int64_t rows, cols;
  int64_t stride;
  int32_t element; /* ISOBIT_F32 or ISOBIT_F64 */
  int32_t format;  /* Isobit rounds the result to it, to nearest even; a value exact in it stays */
} isobit_out;

typedef struct isobit_option {
  const char* name;
  const char* value;
} isobit_option;

/* Where a plugin runs. Valid until close() of the state that open gave. */
typedef struct isobit_host {
  uint64_t size;
  const char* precision;        /* the mode's name: "fp32", "bf16", "fp8-e4m3", … */
  int32_t real;                 /* element of Reals: ISOBIT_F32 or ISOBIT_F64 */
  int32_t matrix;               /* format of the layers' matrices */
  int32_t gemm_input;           /* format of the activations that enter their products */
  int32_t stored;               /* format of activations between operations */
  int32_t cache;                /* format of keys and values */
  int32_t device;               /* ISOBIT_CPU or ISOBIT_CUDA */
  int32_t device_index;         /* of the GPU */
  int32_t threads;              /* that the cell asks for */
  void* stream;                 /* cudaStream_t on which all work is queued; null on the CPU */
  const isobit_option* options; /* of the engine's value in the scenario, sorted by name */
  int64_t option_count;
  /* Says in one line why open fails. The text is copied. */
  void (*error)(const struct isobit_host* host, const char* text);
  void* context; /* Isobit's own */
} isobit_host;

/* One call of an operation. */
typedef struct isobit_call {
  uint64_t size;
  void* stream;         /* as in isobit_host; the results are read behind what was queued on it */
  int32_t threads;      /* that may take part */
  int32_t threads_used; /* to be set: threads that took a share; it is 1 before the call. A cell in
                           which fewer took part than were asked for is MISTRUSTED */
  /* Memory of the device until the operation ends, at an address that 64 divides, filled with NaN;
   * null when there is none left or 64 GiB are not enough. A write behind its end is an error. */
  void* (*scratch)(struct isobit_call* call, uint64_t bytes);
  /* Says in one line why the operation fails. The text is copied. */
  void (*error)(struct isobit_call* call, const char* text);
  void* context; /* Isobit's own */
} isobit_call;

/* out(m, n) = sum over k of x(m, k) * w(n, k), without scales and bias: Isobit applies those, adds
 * the parts of several ranks, and rounds. In the fp8 precisions x and w are without their scales.
 */
typedef struct isobit_gemm {
  uint64_t size;
  isobit_rows x;  /* (M, K), format: that of activations into this product */
  isobit_rows w;  /* (N, K), row-major; stride is K */
  isobit_out out; /* (M, N) */
  /* The columns' segments that the reference adds by themselves: segment s is the columns
   * [bounds[s], bounds[s + 1]). Host memory, segments + 1 numbers; segments is a power of two. */
  const int64_t* bounds;
  int64_t segments;
  const char* matrix; /* "model.layers.0.mlp.down_proj.weight" */
} isobit_gemm;

/* Keys and values of one sequence, Reals exact in the format of the cache, rotated. Row r is
 * position begin + r; KV head h has the columns [h * head_dim, (h + 1) * head_dim). */
typedef struct isobit_sequence {
  isobit_rows k, v; /* (positions, kv_heads * head_dim) */
  int64_t begin;
} isobit_sequence;

/* Who asks: one row of q. It sees the positions [first, last], its own is the last. */
typedef struct isobit_query {
  int64_t sequence; /* index into isobit_attention.sequences */
  int64_t first, last;
} isobit_query;

/* out = softmax(scale * q k^T) v for each row and head. */
typedef struct isobit_attention {
  uint64_t size;
  isobit_rows q;  /* (rows, heads * head_dim) */
  isobit_out out; /* (rows, heads * head_dim) */
  int64_t heads, kv_heads, head_dim;
  const int32_t* kv_of_head;        /* (heads): its KV head. Host memory */
  const isobit_sequence* sequences; /* (sequence_count). Host memory, also on CUDA */
  int64_t sequence_count;
  const isobit_query* queries; /* (rows of q). Host memory, also on CUDA */
  double scale;
  double softcap; /* score = softcap * tanh(score / softcap) behind the scale; 0: none */
} isobit_attention;

/* out = x / sqrt(mean(x^2) + eps) * weight, row by row. Also the norms of q's and k's heads. */
typedef struct isobit_rms_norm {
  uint64_t size;
  isobit_rows x;
  isobit_out out;
  const void* weight; /* (cols) Reals in the device's memory */
  double eps;
} isobit_rms_norm;

/* out = (x - mean) / sqrt(mean((x - mean)^2) + eps) * weight + bias, row by row. */
typedef struct isobit_layer_norm {
  uint64_t size;
  isobit_rows x;
  isobit_out out;
  const void* weight; /* (cols) Reals in the device's memory */
  const void* bias;   /* the same */
  double eps;
} isobit_layer_norm;

/* The first `dims` elements of each head turn in pairs (i, i + dims / 2):
 * out(i) = x(i) c(i) - x(i + dims / 2) s(i), out(i + dims / 2) = x(i + dims / 2) c(i) + x(i) s(i);
 * the others are copied. */
typedef struct isobit_rope {
  uint64_t size;
  isobit_rows x;            /* (rows, heads * head_dim) */
  isobit_out out;           /* like x */
  isobit_rows cosine, sine; /* (rows, dims / 2): of each row's position */
  int64_t heads, head_dim, dims;
} isobit_rope;

/* out = f(gate) * up. */
typedef struct isobit_gated {
  uint64_t size;
  isobit_rows gate, up;
  isobit_out out;
  int64_t activation; /* ISOBIT_SILU or ISOBIT_GELU_TANH */
} isobit_gated;

/* out = f(x). */
typedef struct isobit_activate {
  uint64_t size;
  isobit_rows x;
  isobit_out out;
  int64_t activation;
} isobit_activate;

/* out = x + y: the residual add. */
typedef struct isobit_add {
  uint64_t size;
  isobit_rows x, y;
  isobit_out out;
} isobit_add;

/* What a plugin has. Isobit sets `size` and clears the rest before isobit_plugin_open(). An
 * operation gives 0 when its result is written or queued on the stream; anything else fails the
 * cell with the text of call->error(). */
typedef struct isobit_plugin {
  uint64_t size;
  const char* name;    /* one word for what was observed, e.g. "mygemm"; required */
  const char* version; /* may be null */
  void* state;         /* given to every operation */
  void (*close)(void* state);
  int64_t operands; /* ISOBIT_OPERANDS_… of gemm */
  int32_t (*gemm)(void* state, isobit_call* call, const isobit_gemm* args);
  int32_t (*attention)(void* state, isobit_call* call, const isobit_attention* args);
  int32_t (*rms_norm)(void* state, isobit_call* call, const isobit_rms_norm* args);
  int32_t (*layer_norm)(void* state, isobit_call* call, const isobit_layer_norm* args);
  int32_t (*rope)(void* state, isobit_call* call, const isobit_rope* args);
  int32_t (*gated)(void* state, isobit_call* call, const isobit_gated* args);
  int32_t (*activate)(void* state, isobit_call* call, const isobit_activate* args);
  int32_t (*add)(void* state, isobit_call* call, const isobit_add* args);
} isobit_plugin;

/* Exported by a plugin. open gives 0, or another number behind host->error(): an option that it
 * does not know, a precision or device that it does not have. */
ISOBIT_PLUGIN_EXPORT extern const uint32_t isobit_plugin_abi;
ISOBIT_PLUGIN_EXPORT int32_t isobit_plugin_open(const isobit_host* host, isobit_plugin* plugin);

#ifdef __cplusplus
}
#endif

#endif /* ISOBIT_PLUGIN_ABI_H */
