// Linear layers in the forward pass: rounded inputs, products over a rank's columns or rows, and
// what ranks exchange for them. Bytes alone travel; every sum is finished where it is needed.

#include <numeric>

#include "runtime/model/forward.h"
#include "runtime/numerics/order.h"

namespace isobit {

Rows Forward::gemm_input(Rows x, Format input, bool scaled, bool sliced, const void*& scale) {
  scale = nullptr;
  if (!scaled && (input == backend_.mode().stored || backend_.mode().wide())) return x;
  const Rows rounded = scratch(kInput, x.rows, x.cols);
  if (scaled) {
    const Rows local = scratch(kAmax, 1, x.rows);
    backend_.amax(x, local.data);
    const void* amax = local.data;
    std::int64_t ranks = 1;
    if (sliced && comm_.size() > 1) {  // the row's other columns live on other ranks
      ranks = comm_.size();
      const std::vector<std::int64_t> each(std::size_t(ranks), x.rows);
      amax = gather_columns(local, each, kGathered).data;
    }
    const Rows scales = scratch(kScale, 1, x.rows);
    backend_.scales(amax, ranks, x.rows, input, scales.data);
    scale = scales.data;
  }
  backend_.quantize(x, scale, input, rounded);
  return rounded;
}

std::vector<Product> Forward::column_products(Rows x, const std::vector<Linear>& linears,
                                              Format input) {
  const void* scale = nullptr;
  const bool scaled =
      linears.front().weights->matrix->scaled;  // one precision: all of them or none
  const Rows in = gemm_input(x, input, scaled, false, scale);
  std::vector<const WeightMatrix*> matrices;
  std::vector<Rows> outs;
  std::vector<Product> products;
  for (const Linear& linear : linears) {
    const WeightMatrix* matrix = linear.weights->matrix.get();
    matrices.push_back(matrix);
    outs.push_back(scratch(linear.buffer, x.rows, matrix->outputs));
    products.push_back({{outs.back()}, matrix, scale, linear.weights->bias.get(), outs.back()});
  }
  backend_.gemms(in, matrices, outs);
  return products;
}

Product Forward::row_product(Rows x, const LinearWeights& weights, std::int64_t full_inputs) {
  const WeightMatrix& w = *weights.matrix;
  const void* bias = weights.bias.get();
  const Rows out = scratch(kY, x.rows, w.outputs);
  const void* scale = nullptr;
  const Rows in = gemm_input(x, backend_.mode().gemm_input, w.scaled, true, scale);
  backend_.gemm(in, w, out);
  if (comm_.size() == 1) return {{out}, &w, scale, bias, out};
  // Below 64 columns there is one segment, owned by rank 0: nobody else has a part.
  const bool single = segments_of(full_inputs, int(config_.segments)) == 1;
  const std::size_t part_bytes = std::size_t(out.rows * out.cols) * backend_.real_size();
  std::vector<std::size_t> sizes(std::size_t(comm_.size()), single ? 0 : part_bytes);
  sizes[0] = part_bytes;
  const std::int64_t owners = single ? 1 : comm_.size();
  const Rows all = scratch(kParts, out.rows * owners, out.cols);
  comm_.all_gather(out.data, all.data, sizes);
  Product product{{}, &w, scale, bias, out};
  for (std::int64_t r = 0; r < owners; ++r) {
    product.parts.push_back(some_rows(all, r * out.rows, out.rows, backend_.real_size()));
  }
  return product;
}

Rows Forward::gather_columns(Rows local, std::span<const std::int64_t> widths, int buffer) {
  if (comm_.size() == 1) return local;
  const std::size_t real = backend_.real_size();
  ISOBIT_CHECK(local.stride == local.cols);
  const std::int64_t total = std::accumulate(widths.begin(), widths.end(), std::int64_t(0));
  std::vector<std::size_t> sizes;
  for (const std::int64_t width : widths) {
    sizes.push_back(std::size_t(width * local.rows) * real);
  }
  const Rows out = scratch(buffer, local.rows, total);
  const Rows blocks = scratch(kParts, local.rows, total);
  comm_.all_gather(local.data, blocks.data, sizes);
  std::int64_t column = 0;
  auto* block = static_cast<char*>(blocks.data);
  for (std::size_t r = 0; r < widths.size(); ++r) {
    backend_.copy({block, local.rows, widths[r], widths[r]}, columns(out, column, widths[r], real));
    block += sizes[r];
    column += widths[r];
  }
  return out;
}

}  // namespace isobit
