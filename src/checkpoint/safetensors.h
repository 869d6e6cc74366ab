// A checkpoint: one safetensors file, or a directory of shards with an index, mapped into memory
// and looked up by tensor name.
//
// Knows the file format and nothing about models: which tensors must exist, and with what shape, is
// for model/weights to say.  No offset from a file is used before header.h has checked it.
#pragma once

#include <algorithm>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "precis/status.h"

#include "base/file.h"
#include "checkpoint/tensor_source.h"

namespace precis {

class Checkpoint final : public TensorSource {
 public:
  struct Shard {
    std::filesystem::path path;
    MappedFile file;
  };

  /// Maps a checkpoint and validates every header and the index against each other.
  ///
  /// `path` is a .safetensors file or a model directory: config.json beside either
  /// model.safetensors or model.safetensors.index.json with the shards it names.
  ///
  /// Ensures   every tensor of the index is in the shard it names, every tensor of a shard is
  ///           in the index, no name exists twice, bytes() of every tensor lies within its file
  /// Errors    kNotFound — path, config.json, weights or a shard absent; kCorrupt — naming file,
  ///           tensor, wanted and found; kUnsupported — unknown dtype; kIo — the system refused
  /// Cost      reads the headers only
  static Result<Checkpoint> open(const std::filesystem::path& path);

  std::span<const TensorInfo> tensors() const override { return tensors_; }

  /// The tensor's bytes in the mapping; the file does not promise any alignment.
  ///
  /// Requires  `tensor` is of this checkpoint
  /// Errors    none
  /// Threads   any
  std::span<const std::byte> bytes(const TensorInfo& tensor) const;

  /// Tells the kernel how the tensor's bytes will be used.
  ///
  /// Requires  `tensor` is of this checkpoint
  /// Errors    none
  void advise(const TensorInfo& tensor, Access access) const;

  TensorBytes read(const TensorInfo& tensor, std::uint64_t n_bytes) const override {
    return TensorBytes(bytes(tensor).first(std::min(n_bytes, tensor.n_bytes)));
  }
  /// Drops the tensor's mapped pages, so that resident memory holds no second copy of weights.
  void release(const TensorInfo& tensor) const override { advise(tensor, Access::kDontNeed); }

  /// The files, sorted by name.
  std::span<const Shard> shards() const { return shards_; }

  /// The __metadata__ of all shards; the first shard to state a key wins.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  /// Sum of all tensors' bytes.
  std::uint64_t payload_bytes() const;

 private:
  Result<void> add_shard(const std::filesystem::path& path);
  Result<void> sort_tensors();

  std::vector<Shard> shards_;
  std::vector<TensorInfo> tensors_;  // sorted by name
  std::map<std::string, std::string> metadata_;
};

}  // namespace precis
