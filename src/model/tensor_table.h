// Which tensors a configuration calls for: the only home of the checkpoint's names and shapes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/tensor_source.h"
#include "model/config.h"

namespace precis {

/// What a tensor is for, as `precis inspect` sums it up.
enum class TensorGroup : std::uint8_t {
  kEmbedding,
  kHead,
  kAttention,
  kCompressor,
  kIndexer,
  kRouter,
  kRoutedExperts,
  kSharedExpert,
  kHyper,
  kNorm,
  kMtp,  // what only the MTP or drafter stages have
};
inline constexpr int kNTensorGroups = 11;

std::string tensor_group_name(TensorGroup group);

/// How the checkpoint may store a tensor.
enum class TensorForm : std::uint8_t {
  kMatrix,       // [n_out, n_in] BF16 or F32 as is, F8_E4M3 with block scales, or I8 / U8 = packed
                 // FP4 with group scales; name + ".weight" and, where quantised, name + ".scale"
  kPlainMatrix,  // [n_out, n_in] BF16 or F32, name as it stands
  kVector,       // BF16 or F32, name as it stands
  kTable,        // I64 or I32, name as it stands
};

struct TensorSpec {
  std::string name;
  TensorForm form = TensorForm::kVector;
  TensorGroup group = TensorGroup::kNorm;
  std::vector<std::int64_t> shape;
  int layer = -1;    // index among main layers, −1 for the rest
  bool mtp = false;  // under the prefix "mtp."

  std::string weight_name() const { return form == TensorForm::kMatrix ? name + ".weight" : name; }
  std::string scale_name() const { return name + ".scale"; }
};

/// Every tensor that `config` calls for, in the order of the forward pass.
///
/// Source    docs/model.md §3, §7.1
std::vector<TensorSpec> expected_tensors(const ModelConfig& config);

/// The differences between a checkpoint and its configuration.
struct TensorCheck {
  std::vector<std::string> missing;
  std::vector<std::string> unexpected;
  std::vector<std::string> wrong;  // "name: want …, found …"
};

/// Holds every header entry against the table; reads no weight.
TensorCheck check_tensors(const ModelConfig& config, const std::vector<TensorSpec>& specs,
                          const TensorSource& source);

/// Parameters that a stored tensor stands for (two per byte of packed FP4).
std::int64_t n_parameters(const TensorSpec& spec);

}  // namespace precis
