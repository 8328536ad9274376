// Uses the installed runtime library: one hash from OpenSSL, one from xxHash.
#include <cstdio>
#include <cstring>
#include <span>
#include <string>

#include "runtime/numerics/digest.h"
#include "runtime/trace.h"

int main() {
  const char* text = "abc";
  const std::string sha = isobit::to_hex(isobit::sha256(text, std::strlen(text)));
  const std::string xxh = isobit::to_hex(isobit::digest_bytes(std::as_bytes(std::span(text, 3))));
  std::printf("sha256 %s\nxxh3 %s\n", sha.c_str(), xxh.c_str());
  const bool right = sha == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" &&
                     xxh == "06b05ab6733a618578af5f94892f3950";
  return right ? 0 : 1;
}
