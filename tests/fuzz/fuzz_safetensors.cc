// Feeds arbitrary bytes to the safetensors header parser.
//
// The invariant under test: a header that is accepted only describes bytes within the file.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "checkpoint/header.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  const auto header = precis::parse_safetensors_header(file, size, "input");
  if (!header) {
    if (header.error().message.empty()) std::abort();
    return 0;
  }
  std::uint64_t payload_bytes = 0;
  for (const precis::TensorInfo& tensor : header->tensors) {
    if (tensor.offset > size || tensor.n_bytes > size - tensor.offset) std::abort();
    payload_bytes += tensor.n_bytes;
  }
  if (payload_bytes > size) std::abort();
  return 0;
}
