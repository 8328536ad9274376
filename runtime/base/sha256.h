// SHA-256 of bytes and files: artifacts (models, libraries, executables), recipes and Merkle roots.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace isobit {

using Sha256 = std::array<std::uint8_t, 32>;
/// 64 lower-case hex digits.
std::string to_hex(const Sha256& hash);
Sha256 sha256(const void* data, std::size_t size);
/// SHA-256 of a whole regular file; false when it cannot be read, or when an interrupt came first.
bool sha256_file(const std::string& path, Sha256& out);

}  // namespace isobit
