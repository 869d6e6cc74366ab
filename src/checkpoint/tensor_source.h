// Where a model's tensors come from, as the loader sees it: names, dtypes and shapes first, bytes
// one tensor at a time.  Files are one source; tensors that are drawn instead of stored another.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "checkpoint/header.h"
#include "tensor/random_table.h"

namespace precis {

/// Bytes of a tensor: a view of memory that the source keeps, or made for this reader.
class TensorBytes {
 public:
  TensorBytes() = default;
  explicit TensorBytes(std::span<const std::byte> view) : view_(view) {}
  TensorBytes(std::unique_ptr<std::byte[]> owned, std::size_t n_bytes)
      : owned_(std::move(owned)), view_(owned_.get(), n_bytes) {}

  std::span<const std::byte> view() const { return view_; }

 private:
  std::unique_ptr<std::byte[]> owned_;
  std::span<const std::byte> view_;
};

/// Threads   one reader at a time
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  /// All tensors, sorted by name.
  virtual std::span<const TensorInfo> tensors() const = 0;

  /// The tensor called `name`, or nullptr; valid as long as the source.
  ///
  /// Errors    none
  /// Cost      O(log n_tensors)
  const TensorInfo* find(std::string_view name) const;

  /// The tensor's first `n_bytes` bytes, or all where it has fewer.
  ///
  /// Requires  `tensor` is of this source
  virtual TensorBytes read(const TensorInfo& tensor, std::uint64_t n_bytes) const = 0;

  /// How the tensor's bytes are drawn, where they are, so that a device can make them itself.
  virtual std::optional<RandomTable> random_table(const TensorInfo&) const { return std::nullopt; }

  /// Says that the tensor will not be read again soon.
  virtual void release(const TensorInfo&) const {}
};

}  // namespace precis
