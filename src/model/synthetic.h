// Tensors of given shapes with seeded random weights: the true names, dtypes and block scales, and
// nothing learned.  They are drawn when they are read, so a model larger than memory can be made.
//
// The bytes of a tensor are a function of seed, name, shape and dtype alone: the same in a file, in
// memory and on a device, whatever else the model holds.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "precis/status.h"

#include "base/threads.h"
#include "checkpoint/tensor_source.h"
#include "model/config.h"

namespace precis {

enum class SyntheticDtypes : std::uint8_t {
  kRelease,  // FP8 projections, FP4 experts, BF16 and F32 as released
  kBf16,     // every matrix BF16
};

/// The tensors that a configuration calls for, drawn at random.
///
/// Weights are near normal with spreads that keep activations near unit size and the router's and
/// the selector's scores apart.
class SyntheticTensors final : public TensorSource {
 public:
  /// `threads`, where given, shares the work of read() and must outlive the source.
  SyntheticTensors(const ModelConfig& config, SyntheticDtypes dtypes, std::uint64_t seed,
                   ThreadPool* threads = nullptr);

  std::span<const TensorInfo> tensors() const override { return infos_; }
  TensorBytes read(const TensorInfo& tensor, std::uint64_t n_bytes) const override;
  std::optional<RandomTable> random_table(const TensorInfo& tensor) const override;

  /// Writes bytes `begin` and after of the tensor until `out` is full.
  ///
  /// Requires  `begin` is a multiple of 64
  void read_part(const TensorInfo& tensor, std::uint64_t begin, std::span<std::byte> out) const;

  /// Sum of all tensors' bytes.
  std::uint64_t payload_bytes() const;

 private:
  using Values = std::array<std::uint32_t, 256>;
  struct Entry;

  void fill(const TensorInfo& tensor, std::uint64_t begin, std::span<std::byte> out) const;
  void fill_experts(const TensorInfo& tensor, std::uint64_t begin, std::span<std::byte> out) const;
  /// The table of a tensor of this source; null for one of expert numbers.
  const Values* values_of(const TensorInfo& tensor) const;
  std::uint64_t key_of(const TensorInfo& tensor) const;

  std::uint64_t seed_;
  ThreadPool* threads_;
  std::uint64_t n_experts_;
  std::vector<TensorInfo> infos_;       // sorted by name
  std::vector<const Values*> of_info_;  // as infos_, each into values_ or null
  std::set<Values> values_;             // tensors of one spread share a table
};

/// Called with the bytes written so far and in all; false stops.
using SyntheticProgressFn = std::function<bool(std::uint64_t done, std::uint64_t total)>;

/// What a synthetic model directory is made of.
struct SyntheticFiles {
  std::string config_json;
  SyntheticDtypes dtypes = SyntheticDtypes::kRelease;
  std::uint64_t seed = 1;
  std::map<std::string, std::string> texts;            // other files, name to content
  std::uint64_t shard_bytes = std::uint64_t{4} << 30;  // payload, where no tensor is larger
};

/// Writes a model directory: config.json and one safetensors file, or shards with an index.
///
/// Ensures   `dir` holds a whole checkpoint or, after an error, nothing that was not there before
/// Errors    as parse_config for the configuration; kInvalidArgument — `dir` holds files already;
///           kIo — the disk lacks room, which is checked first, or a file cannot be written;
///           kCancelled — progress said so
/// Cost      memory for the shards' headers and 32 MiB
Result<void> write_synthetic(const std::filesystem::path& dir, const SyntheticFiles& files,
                             ThreadPool* threads = nullptr,
                             const SyntheticProgressFn& progress = {});

/// Refuses a directory whose disk has less than `n_bytes` left.
///
/// Errors    kIo — naming both figures
Result<void> require_room(const std::filesystem::path& dir, std::uint64_t n_bytes);

}  // namespace precis
