// Cuts one block of scratch memory into aligned arrays.
//
// A struct of scratch arrays takes its slices in its constructor; the same constructor run without
// memory says how many bytes it needs, so that the two cannot disagree.
#pragma once

#include <cstddef>

namespace precis {

class Slices {
 public:
  static constexpr std::size_t kAlignment = 64;  // one AVX-512 vector

  /// `base` is aligned to kAlignment; null only counts.
  explicit Slices(std::byte* base) : base_(base) {}

  /// Room for n values of T, aligned to kAlignment; null where only counting.
  template <typename T>
  T* take(std::size_t n) {
    const std::size_t begin = n_bytes_;
    n_bytes_ += (n * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    return base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + begin);
  }

  std::size_t n_bytes() const { return n_bytes_; }

 private:
  std::byte* base_;
  std::size_t n_bytes_ = 0;
};

}  // namespace precis
