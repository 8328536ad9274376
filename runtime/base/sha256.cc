// The only file that includes OpenSSL.
#include "runtime/base/sha256.h"

#include <openssl/evp.h>

#include <cstdio>
#include <memory>
#include <vector>

#include "runtime/base/file.h"
#include "runtime/base/interrupt.h"
#include "runtime/base/result.h"

namespace isobit {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

/// Fetched once: the implicit fetch costs more than hashing a short buffer.
const EVP_MD* algorithm() {
  static const EVP_MD* const md = EVP_sha256();
  ISOBIT_CHECK(md != nullptr);
  return md;
}

}  // namespace

std::string to_hex(const Sha256& hash) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * hash.size());
  for (const std::uint8_t byte : hash) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

Sha256 sha256(const void* data, std::size_t size) {
  Sha256 hash{};
  unsigned int length = 0;
  ISOBIT_CHECK(EVP_Digest(data, size, hash.data(), &length, algorithm(), nullptr) == 1);
  ISOBIT_CHECK(length == hash.size());
  return hash;
}

bool sha256_file(const std::string& path, Sha256& out) {
  const auto descriptor = open_regular(path);
  if (!descriptor) return false;
  const std::unique_ptr<std::FILE, CloseFile> file(::fdopen(*descriptor, "rb"));
  ISOBIT_CHECK(file != nullptr);
  std::setvbuf(file.get(), nullptr, _IONBF, 0);
  const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
  ISOBIT_CHECK(context != nullptr && EVP_DigestInit_ex(context.get(), algorithm(), nullptr) == 1);
  std::vector<unsigned char> buffer(std::size_t{1} << 18);
  std::size_t got = 0;
  while ((got = std::fread(buffer.data(), 1, buffer.size(), file.get())) > 0) {
    ISOBIT_CHECK(EVP_DigestUpdate(context.get(), buffer.data(), got) == 1);
    if (interrupted != 0) return false;  // models are large
  }
  if (std::ferror(file.get()) != 0) return false;
  unsigned int length = 0;
  ISOBIT_CHECK(EVP_DigestFinal_ex(context.get(), out.data(), &length) == 1);
  return length == out.size();
}

}  // namespace isobit
