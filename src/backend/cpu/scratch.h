// Working memory that grows to the largest request and is kept between calls.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

#include "base/check.h"

namespace precis {

/// One block of 64-byte-aligned memory.  What it holds does not survive a later request.
class ScratchBuffer {
 public:
  /// Uninitialised room for n values of T, valid until the next call.
  ///
  /// Errors    none; running out of memory ends the program
  template <typename T>
  T* get(std::size_t n) {
    const std::size_t n_bytes = n * sizeof(T);
    if (n_bytes > n_bytes_) grow(n_bytes);
    return reinterpret_cast<T*>(data_.get());
  }

 private:
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };

  // A quarter of headroom, so that a context that grows row by row does not reallocate every step.
  void grow(std::size_t n_bytes) {
    n_bytes_ = (n_bytes + n_bytes / 4 + 63) / 64 * 64;
    data_.reset();
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(64, n_bytes_)));
    PRECIS_CHECK(data_ != nullptr);
  }

  std::unique_ptr<std::byte, Free> data_;
  std::size_t n_bytes_ = 0;
};

}  // namespace precis
