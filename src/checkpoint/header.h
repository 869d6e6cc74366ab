// The header of one safetensors file, read as input from a stranger: after parsing, every tensor's
// bytes lie within the file, agree with its dtype and shape, and belong to no other tensor.
//
// Format: header length u64 little-endian | JSON object | payload.  The object maps each tensor
// name to {dtype, shape, data_offsets}; offsets count from the payload's start and tile it without
// gaps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "precis/status.h"

#include "tensor/dtype.h"

namespace precis {

/// The format's own limit on the JSON object.
inline constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;

struct TensorInfo {
  std::string name;
  DType dtype;
  std::vector<std::int64_t> shape;  // empty for a scalar; counts elements, for kF4E2M1 too
  std::size_t shard_idx = 0;        // into Checkpoint::shards()
  std::uint64_t offset = 0;         // from the start of the shard's file
  std::uint64_t n_bytes = 0;
};

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  // sorted by name, shard_idx 0
  std::map<std::string, std::string> metadata;
};

/// Parses and validates the header of a safetensors file.
///
/// `file_start` holds the file's first bytes, at least through the header; `file_bytes` is the size
/// of the whole file; `file_name` stands in messages.
///
/// Ensures   the guarantees stated at the top of this file
/// Errors    kCorrupt — naming file, tensor, wanted and found; kUnsupported — a dtype this
///           build does not know
/// Cost      one pass over the JSON; no copy of the payload
Result<SafetensorsHeader> parse_safetensors_header(std::span<const std::byte> file_start,
                                                   std::uint64_t file_bytes,
                                                   std::string_view file_name);

/// A shape as messages print it: "[128, 4096]".
///
/// Errors    none
std::string shape_text(std::span<const std::int64_t> shape);

}  // namespace precis
