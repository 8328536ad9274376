// NFC normalisation on utf8proc; the only file that knows that library.
#include <utf8proc.h>

#include <cstdlib>
#include <memory>

#include "runtime/model/tokenizer_spec.h"
#include "runtime/model/unicode_tables.h"

namespace invar {
namespace {

/// Appends NFC of valid UTF-8. Falls back to the text itself if the library refuses.
void append_nfc(std::string_view valid, std::string& out) {
  utf8proc_uint8_t* composed = nullptr;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(valid.data()),
                   static_cast<utf8proc_ssize_t>(valid.size()), &composed, options);
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(composed, std::free);
  if (size < 0) {
    out += valid;
    return;
  }
  out.append(reinterpret_cast<const char*>(composed), static_cast<std::size_t>(size));
}

}  // namespace

std::string normalize_nfc(std::string_view text) {
  std::string out;
  std::size_t start = 0;  // of the valid stretch
  for (std::size_t at = 0; at < text.size();) {
    const Char c = char_at(text, at);
    at += c.bytes;
    if (c.code != kInvalidByte) continue;
    append_nfc(text.substr(start, at - 1 - start), out);
    out += text[at - 1];
    start = at;
  }
  append_nfc(text.substr(start), out);
  return out;
}

std::string nfc_version() {
  return utf8proc_unicode_version();
}

}  // namespace invar
