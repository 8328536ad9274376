// Names of tensor cores.
#include "runtime/numerics/tensorcore_text.h"

#include "runtime/base/words.h"

namespace isobit {
namespace {

const std::vector<std::string>& names() {
  static const std::vector<std::string> all = {"sm70", "sm75", "sm80", "sm89", "sm90", "sm100"};
  return all;
}

}  // namespace

std::string text_of(TensorCore chip) {
  return names()[std::size_t(chip)];
}

Result<TensorCore> parse_tensor_core(const std::string& text) {
  for (const TensorCore chip : tensor_cores()) {
    if (text == text_of(chip)) return chip;
  }
  return Error{"no tensor core is called " + in_quotes(text) + among_known(text, names()), ""};
}

const std::vector<TensorCore>& tensor_cores() {
  using enum TensorCore;
  static const std::vector<TensorCore> all = {sm70, sm75, sm80, sm89, sm90, sm100};
  return all;
}

}  // namespace isobit
