// The masks and the tree (reveal.h).
#include "harness/probe/reveal.h"

#include <algorithm>
#include <map>

#include "runtime/base/interrupt.h"
#include "runtime/device_memory.h"

namespace isobit::probe {
namespace {

constexpr float kLarge = 0x1p60F;  // exact in fp32, tf32 and bf16

using Pair = std::pair<std::int64_t, std::int64_t>;

/// Asks pairs of terms how many terms stand below the node where they meet.
class Masks {
 public:
  Masks(Backend& backend, const ProductPlan& plan, std::int64_t rows)
      : backend_(backend),
        plan_(plan),
        rows_(rows),
        x_(backend, std::size_t(rows * plan.inputs) * sizeof(float)),
        out_(backend, std::size_t(rows * plan.outputs) * sizeof(float)) {
    const std::vector<float> ones(std::size_t(rows * plan.inputs), 1.0F);
    backend.upload(x_.get(), ones.data(), ones.size() * sizeof(float));
  }

  Result<std::map<Pair, std::int64_t>> ask(const std::vector<Pair>& pairs) {
    std::map<Pair, std::int64_t> sizes;
    for (std::size_t first = 0; first < pairs.size(); first += std::size_t(plan_.outputs)) {
      const std::size_t count = std::min(pairs.size() - first, std::size_t(plan_.outputs));
      const auto answers = product({pairs.data() + first, count});
      for (std::size_t i = 0; i < count; ++i) {
        const bool known = answers[i] >= 0 && answers[i] <= float(plan_.inputs - 2);
        const std::int64_t apart = known ? std::int64_t(answers[i]) : -1;
        if (!known || float(apart) != answers[i]) {
          return Error{"the engine's answer " + std::to_string(answers[i]) + " is no count", ""};
        }
        sizes[pairs[first + i]] = plan_.inputs - apart;
      }
    }
    return sizes;
  }

 private:
  std::vector<float> product(std::span<const Pair> pairs) {
    const auto mask = [&](std::int64_t row, std::span<float> out) {
      std::fill(out.begin(), out.end(), 1.0F);
      const Pair& pair = pairs[std::size_t(row) % pairs.size()];
      out[std::size_t(pair.first)] = kLarge;
      out[std::size_t(pair.second)] = -kLarge;
    };
    const auto matrix = backend_.load_matrix(matrix_of(plan_, backend_.mode(), mask));
    backend_.gemm({x_.get(), rows_, plan_.inputs, plan_.inputs}, *matrix,
                  {out_.get(), rows_, plan_.outputs, plan_.outputs});
    std::vector<float> answers(pairs.size());
    backend_.download(answers.data(), out_.get(), answers.size() * sizeof(float));
    return answers;
  }

  Backend& backend_;
  const ProductPlan& plan_;
  std::int64_t rows_;
  DeviceMemory x_, out_;
};

/// Terms whose order is still open, and where it goes.
struct Open {
  SumTree* to;
  std::vector<std::int64_t> terms;
  std::int64_t meets = 0;  // size of the node where they meet what stands before them
};

/// Splits a set by where its first term meets the others; what meets it first stands first.
std::vector<Open> split(const Open& open, const std::map<Pair, std::int64_t>& sizes) {
  std::map<std::int64_t, std::vector<std::int64_t>> groups;
  const std::int64_t first = open.terms[0];
  for (std::size_t i = 1; i < open.terms.size(); ++i) {
    groups[sizes.at({first, open.terms[i]})].push_back(open.terms[i]);
  }
  if (groups.size() == 1 && groups.begin()->first == open.meets) {  // in that very node
    open.to->together = true;
    for (const std::int64_t term : open.terms) open.to->parts.emplace_back().term = term;
    return {};
  }
  open.to->parts.resize(groups.size() + 1);
  open.to->parts[0].term = first;
  std::vector<Open> rest;
  std::size_t at = 1;
  for (auto& [size, terms] : groups) {
    SumTree& part = open.to->parts[at++];
    if (terms.size() == 1) {
      part.term = terms[0];
    } else {
      rest.push_back({&part, std::move(terms), size});
    }
  }
  return rest;
}

/// The space before a part, but for the first.
const char* apart(const std::string& out) {
  return out.empty() || out.back() == '(' || out.back() == '{' ? "" : " ";
}

void append_terms(std::string& out, const std::vector<std::int64_t>& terms) {
  for (std::size_t i = 0; i < terms.size();) {
    std::size_t end = i + 1;
    while (end + 1 < terms.size() && terms[end + 1] - terms[end] == terms[i + 1] - terms[i]) {
      ++end;
    }
    out += apart(out) + std::to_string(terms[i]);
    if (end > i + 1) {
      out += " " + std::to_string(terms[i + 1]) + " .. " + std::to_string(terms[end]);
      i = end + 1;
    } else {
      ++i;
    }
  }
}

void append(std::string& out, const SumTree& tree) {
  std::vector<std::int64_t> run;
  for (const SumTree& part : tree.parts) {
    if (part.term >= 0) {
      run.push_back(part.term);
      continue;
    }
    append_terms(out, run);
    run.clear();
    out += apart(out);
    out += part.together ? "{" : "(";
    append(out, part);
    out += part.together ? "}" : ")";
  }
  append_terms(out, run);
}

}  // namespace

Result<SumTree> reveal_product(Backend& backend, const ProductPlan& plan, std::int64_t rows) {
  SumTree tree;
  Open all{&tree, {}};
  for (std::int64_t k = 0; k < plan.inputs; ++k) all.terms.push_back(k);
  if (plan.inputs < 2) {
    tree.term = 0;
    return tree;
  }
  Masks masks(backend, plan, rows);
  // A round asks all sets that are open. Where nothing is learned, the terms meet in one operation.
  for (std::vector<Open> open = {all}; !open.empty();) {
    if (interrupted != 0) return Error{"interrupted", ""};
    std::vector<Pair> pairs;
    for (const Open& each : open) {
      for (std::size_t i = 1; i < each.terms.size(); ++i) {
        pairs.emplace_back(each.terms[0], each.terms[i]);
      }
    }
    const auto sizes = masks.ask(pairs);
    ISOBIT_TRY(sizes);
    std::vector<Open> next;
    for (const Open& each : open) {
      for (Open& part : split(each, *sizes)) next.push_back(std::move(part));
    }
    open = std::move(next);
  }
  return tree;
}

std::string text_of(const SumTree& tree) {
  std::string out;
  append(out, tree);
  return out;
}

}  // namespace isobit::probe
