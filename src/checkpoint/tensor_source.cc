#include "checkpoint/tensor_source.h"

#include <algorithm>

namespace precis {

const TensorInfo* TensorSource::find(std::string_view name) const {
  const std::span<const TensorInfo> all = tensors();
  const auto found = std::lower_bound(
      all.begin(), all.end(), name,
      [](const TensorInfo& tensor, std::string_view wanted) { return tensor.name < wanted; });
  return found != all.end() && found->name == name ? &*found : nullptr;
}

}  // namespace precis
