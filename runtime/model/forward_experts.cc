// A routed MLP: each row's router chooses a few experts; rows of one expert run together.
//
// A row's sum is over its experts in ascending order, whatever the others of the step chose, so
// that its bits do not depend on them. The choice is made on the host, on every rank alike.
#include "runtime/model/forward.h"
#include "runtime/numerics/routing.h"

namespace isobit {
namespace {

template <class T>
std::vector<Route> routes(Backend& backend, Rows logits, const ModelConfig& config) {
  std::vector<T> values(std::size_t(logits.rows * logits.cols));
  backend.download(values.data(), logits.data, values.size() * sizeof(T));
  std::vector<Route> out;
  const auto width = std::size_t(logits.cols);
  for (std::size_t r = 0; r < std::size_t(logits.rows); ++r) {
    out.push_back(route(std::span<const T>(values).subspan(r * width, width), config.experts_used,
                        config.experts_sum_to_one, backend.mode().stored));
  }
  return out;
}

/// The rows that use an expert, and its weight in each.
struct Share {
  std::vector<std::int32_t> rows;
  std::vector<double> weights;
};

std::vector<Share> shares_of(const std::vector<Route>& routes, std::int64_t experts) {
  std::vector<Share> out(static_cast<std::size_t>(experts));
  for (std::size_t r = 0; r < routes.size(); ++r) {
    for (std::size_t i = 0; i < routes[r].experts.size(); ++i) {
      Share& share = out[std::size_t(routes[r].experts[i])];
      share.rows.push_back(std::int32_t(r));
      share.weights.push_back(routes[r].weights[i]);
    }
  }
  return out;
}

}  // namespace

Rows Forward::experts(int index, Rows x) {
  const LayerWeights& w = model_.layers[std::size_t(index)];
  const Product logits =
      column_products(x, {{&w.router, kRouter}}, backend_.mode().head_input).front();
  backend_.end_linear(logits);
  const std::vector<Route> chosen = backend_.mode().wide()
                                        ? routes<double>(backend_, logits.out, config_)
                                        : routes<float>(backend_, logits.out, config_);
  const Rows sum = scratch(kExpertSum, x.rows, x.cols);
  const std::vector<std::byte> zeros(std::size_t(x.rows * x.cols) * backend_.real_size());
  backend_.upload(sum.data, zeros.data(), zeros.size());
  const std::vector<Share> shares = shares_of(chosen, config_.experts);
  for (std::size_t e = 0; e < shares.size(); ++e) {
    const Share& share = shares[e];
    if (share.rows.empty()) continue;
    Rows input = x;
    if (share.rows.size() < std::size_t(x.rows)) {
      input = scratch(kExpertInput, std::int64_t(share.rows.size()), x.cols);
      backend_.gather(x, share.rows, input);
    }
    const ExpertWeights& expert = w.experts[e];
    const Rows act = activations(w.plan, expert.gate, expert.up, input);
    const Product y = row_product(act, expert.down, config_.expert_size);
    backend_.end_linear(y);
    backend_.add_scaled(y.out, share.rows, share.weights, sum);
  }
  return sum;
}

}  // namespace isobit
