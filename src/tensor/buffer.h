// Owning bytes on one device.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <utility>

namespace precis {

/// Memory of one backend, freed by the function that came with it.  On the CPU it is 64-byte
/// aligned and readable; on a device the pointer may only be handed to that backend.
class Buffer {
 public:
  using Free = void (*)(void* data, std::size_t n_bytes);

  Buffer() = default;
  Buffer(void* data, std::size_t n_bytes, Free free)
      : data_(data), n_bytes_(n_bytes), free_(free) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (data_ != nullptr) free_(data_, n_bytes_);
  }

  std::byte* data() const { return static_cast<std::byte*>(data_); }
  std::size_t n_bytes() const { return n_bytes_; }

  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  template <typename T>
  std::span<T> span() const {
    return {as<T>(), n_bytes_ / sizeof(T)};
  }

 private:
  void swap(Buffer& other) {
    std::swap(data_, other.data_);
    std::swap(n_bytes_, other.n_bytes_);
    std::swap(free_, other.free_);
  }

  void* data_ = nullptr;
  std::size_t n_bytes_ = 0;
  Free free_ = nullptr;
};

}  // namespace precis
