// Writes a safetensors file: the header first, then the payload as it is produced, so that a file
// larger than memory can be made.  The file appears complete or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "precis/status.h"

#include "base/file.h"
#include "tensor/dtype.h"

namespace precis {

/// What the header says of a tensor before its bytes are there.
struct TensorHeader {
  std::string name;
  DType dtype;
  std::vector<std::int64_t> shape;
};

class SafetensorsWriter {
 public:
  /// Starts a file that will hold `specs` in this order.  Widest elements first keeps every tensor
  /// aligned to its element.
  ///
  /// Requires  distinct names, none of them "__metadata__"; sizes not negative; whole bytes
  /// Errors    kNotFound — no such directory; kInvalidArgument — the header would pass the format's
  ///           limit; kIo — the system refused
  static Result<SafetensorsWriter> create(const std::filesystem::path& path,
                                          std::span<const TensorHeader> specs,
                                          const std::map<std::string, std::string>& metadata);

  /// Appends the next bytes of the payload; pieces need not end where tensors do.
  ///
  /// Requires  no more bytes in all than the specs announce
  /// Errors    kIo — the system refused; nothing of the file stays
  Result<void> append(std::span<const std::byte> bytes);

  /// Puts the file in place.
  ///
  /// Requires  exactly the announced bytes were appended
  /// Errors    kIo — the system refused
  Result<void> commit();

 private:
  SafetensorsWriter(AtomicFile file, std::uint64_t n_bytes_left)
      : file_(std::move(file)), n_bytes_left_(n_bytes_left) {}

  AtomicFile file_;
  std::uint64_t n_bytes_left_;
};

struct TensorToWrite {
  TensorHeader spec;
  std::span<const std::byte> bytes;
};

/// Writes tensors that are in memory, widest elements first.
///
/// Requires  as SafetensorsWriter::create, and bytes as long as each spec says
/// Errors    as SafetensorsWriter
Result<void> write_safetensors(const std::filesystem::path& path,
                               std::span<const TensorToWrite> tensors,
                               const std::map<std::string, std::string>& metadata = {});

}  // namespace precis
