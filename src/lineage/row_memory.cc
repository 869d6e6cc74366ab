#include "lineage/row_memory.h"

#include <algorithm>
#include <cstring>

#include "base/rng.h"

namespace precis {
namespace {

constexpr std::uint64_t kRepeated = 0x0101010101010101u;
// A random byte or half word, cut to sign and mantissa, under an exponent that means 0.5 … 2.
constexpr std::uint64_t kE4m3Kept = 0x8f * kRepeated;
constexpr std::uint64_t kE4m3Set = 0x30 * kRepeated;
constexpr std::uint64_t kBf16Kept = 0x80ff80ff80ff80ffu;
constexpr std::uint64_t kBf16Set = 0x3f003f003f003f00u;
constexpr std::uint8_t kScale8 = 127;  // 1
constexpr float kScale32 = 1;

// Draws are numbered along the whole memory.
class Draws {
 public:
  explicit Draws(std::uint64_t seed) : seed_(seed) {}

  void fill(std::byte* out, int n, std::uint64_t kept, std::uint64_t set) {
    for (int i = 0; i < n; i += 8) {
      const std::uint64_t word = (random_bits(seed_, next_++) & kept) | set;
      std::memcpy(out + i, &word, static_cast<std::size_t>(std::min(8, n - i)));
    }
  }

 private:
  std::uint64_t seed_;
  std::uint64_t next_ = 0;
};

void fill_scales32(std::byte* out, int n) {
  for (int i = 0; i < n; ++i) std::memcpy(out + i * sizeof(float), &kScale32, sizeof(float));
}

void fill_row(const KvRowFormat& format, std::byte* data, std::byte* scales, Draws& draws) {
  switch (format.nope_storage) {
    case NopeStorage::kE4m3Scales8:
      draws.fill(data, format.nope, kE4m3Kept, kE4m3Set);
      std::fill_n(scales, format.n_groups(), std::byte{kScale8});
      break;
    case NopeStorage::kE4m3Scales32:
      draws.fill(data, format.nope, kE4m3Kept, kE4m3Set);
      fill_scales32(data + format.nope, format.n_groups());
      break;
    case NopeStorage::kBf16: draws.fill(data, 2 * format.nope, kBf16Kept, kBf16Set); break;
  }
  draws.fill(data + format.nope_bytes(), 2 * format.rope, kBf16Kept, kBf16Set);
}

void fill_row(const IndexRowFormat& format, std::byte* data, std::byte* scales, Draws& draws) {
  if (format.storage == IndexStorage::kE4m3) {
    draws.fill(data, format.width, kE4m3Kept, kE4m3Set);
    fill_scales32(scales, 1);
  } else {
    draws.fill(data, format.data_bytes(), ~std::uint64_t{0}, 0);
    std::fill_n(scales, format.n_groups(), std::byte{kScale8});
  }
}

}  // namespace

RowMemory::RowMemory(int data_bytes, int scale_bytes, const Size& size)
    : page_bytes_(static_cast<std::size_t>(size.rows_per_page) *
                  static_cast<std::size_t>(data_bytes + scale_bytes)) {
  const std::int64_t head_pages = (size.n_rows + size.rows_per_page - 1) / size.rows_per_page;
  const std::int64_t n_logical = std::max<std::int64_t>(1, head_pages * size.n_kv_heads);
  const std::int64_t n_allowed = size.max_bytes / static_cast<std::int64_t>(page_bytes_);
  n_pages_ = std::clamp<std::int64_t>(n_allowed, 1, n_logical);
  reuses_pages_ = n_pages_ < n_logical;
  bytes_.reset(new std::byte[static_cast<std::size_t>(n_pages_) * page_bytes_]);
  pages_.resize(static_cast<std::size_t>(n_logical));
  for (std::size_t page = 0; page < pages_.size(); ++page) {
    pages_[page] = bytes_.get() + page % static_cast<std::size_t>(n_pages_) * page_bytes_;
  }
  view_ = {pages_.data(), size.rows_per_page, data_bytes, scale_bytes, head_pages};
}

RowMemory::RowMemory(const KvRowFormat& format, const Size& size, std::uint64_t seed)
    : RowMemory(format.data_bytes(), format.scale_bytes(), size) {
  Draws draws(seed);
  for (std::int64_t row = 0; row < n_pages_ * size.rows_per_page; ++row) {
    fill_row(format, view_.data(row), view_.scales(row), draws);
  }
}

RowMemory::RowMemory(const IndexRowFormat& format, const Size& size, std::uint64_t seed)
    : RowMemory(format.data_bytes(), format.scale_bytes(), size) {
  Draws draws(seed);
  for (std::int64_t row = 0; row < n_pages_ * size.rows_per_page; ++row) {
    fill_row(format, view_.data(row), view_.scales(row), draws);
  }
}

}  // namespace precis
