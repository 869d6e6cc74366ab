// Shapes over memory that somebody else owns: matrices, cubes, and rows in pages.
//
// A view knows where its elements are and nothing else.  RowPool is the only form in which packed
// KV and index rows reach an operation; the addresses behind it are made in kv/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/check.h"

namespace precis {

/// A row-major matrix; `stride` elements lie between the starts of two rows.
template <typename T>
struct Mat {
  T* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;

  Mat() = default;
  Mat(T* data_in, std::int64_t rows_in, std::int64_t cols_in)
      : data(data_in), rows(rows_in), cols(cols_in), stride(cols_in) {}
  Mat(T* data_in, std::int64_t rows_in, std::int64_t cols_in, std::int64_t stride_in)
      : data(data_in), rows(rows_in), cols(cols_in), stride(stride_in) {}
  operator Mat<const T>() const { return {data, rows, cols, stride}; }  // NOLINT: implicit

  bool empty() const { return rows == 0 || cols == 0; }
  T* row(std::int64_t r) const {
    PRECIS_DCHECK(r >= 0 && r < rows);
    return data + r * stride;
  }
  std::span<T> row_span(std::int64_t r) const { return {row(r), static_cast<std::size_t>(cols)}; }
  T& operator()(std::int64_t r, std::int64_t c) const { return row(r)[c]; }
  Mat slice_rows(std::int64_t begin, std::int64_t n) const {
    PRECIS_DCHECK(begin >= 0 && begin + n <= rows);
    return {data + begin * stride, n, cols, stride};
  }
};

/// Token-major [n, planes, cols] values without gaps: streams [T, M, D], queries [T, H, Dh].
template <typename T>
struct Cube {
  T* data = nullptr;
  std::int64_t n = 0;
  std::int64_t planes = 0;
  std::int64_t cols = 0;

  Cube() = default;
  Cube(T* data_in, std::int64_t n_in, std::int64_t planes_in, std::int64_t cols_in)
      : data(data_in), n(n_in), planes(planes_in), cols(cols_in) {}
  operator Cube<const T>() const { return {data, n, planes, cols}; }  // NOLINT: implicit

  T* at(std::int64_t i, std::int64_t plane) const { return data + (i * planes + plane) * cols; }
  Mat<T> flat() const { return {data, n, planes * cols}; }  // [n, planes * cols]
  Mat<T> rows() const { return {data, n * planes, cols}; }  // [n * planes, cols]
  Cube slice(std::int64_t begin, std::int64_t count) const {
    PRECIS_DCHECK(begin >= 0 && begin + count <= n);
    return {data + begin * planes * cols, count, planes, cols};
  }
};

/// How the rotated channels of a KV row are kept: BF16 as released, F32 in the exact mode.
enum class RopeStorage : std::uint8_t { kBf16, kF32 };

/// How the other channels of a KV row are kept.
enum class NopeStorage : std::uint8_t {
  kE4m3Scales8,   // V4: groups of 64, e8m0 scales apart from the codes
  kE4m3Scales32,  // V3.2: groups of 128, F32 scales right behind the codes
  kBf16,          // MLA and the attentions before it
};

/// One packed KV row: `nope` channels, then `rope` rotated ones.
///
/// V4's scales (one byte a group, padded) lie apart; released widths 448 + 64 give 576 + 8 bytes.
/// V3.2's row is one piece, 512 + 16 + 128 = 656 bytes; a BF16 row is its values alone.
/// Source    spec of FlashMLA's MODEL1 and V3.2 cache rows; docs/kv_layout.md, docs/lineage.md
struct KvRowFormat {
  static constexpr int kGroup = 64;  // of kE4m3Scales8

  int nope = 0;
  int rope = 0;
  RopeStorage rope_storage = RopeStorage::kBf16;
  NopeStorage nope_storage = NopeStorage::kE4m3Scales8;

  int width() const { return nope + rope; }
  int group() const { return nope_storage == NopeStorage::kE4m3Scales32 ? 128 : kGroup; }
  int n_groups() const { return (nope + group() - 1) / group(); }
  /// Bytes in front of the rotated channels: codes, and scales that lie behind them.
  int nope_bytes() const {
    switch (nope_storage) {
      case NopeStorage::kE4m3Scales8: return nope;
      case NopeStorage::kE4m3Scales32: return nope + 4 * n_groups();
      case NopeStorage::kBf16: return 2 * nope;
    }
    return 0;
  }
  int data_bytes() const {
    return nope_bytes() + rope * (rope_storage == RopeStorage::kBf16 ? 2 : 4);
  }
  int scale_bytes() const {
    if (nope_storage != NopeStorage::kE4m3Scales8) return 0;
    return padded(data_bytes() + n_groups()) - data_bytes();
  }
  int row_bytes() const { return data_bytes() + scale_bytes(); }

 private:
  static int padded(int bytes) { return (bytes + 7) / 8 * 8; }
};

enum class IndexStorage : std::uint8_t {
  kE2m1,  // V4: two codes a byte (even channel in the low nibble), one e8m0 scale per 32 channels
  kE4m3,  // V3.2: one code a byte, one F32 scale for the row
};

/// One packed index row.  Width 128 gives 64 + 4 bytes in V4 and 128 + 4 in V3.2.
struct IndexRowFormat {
  static constexpr int kGroup = 32;  // of kE2m1

  int width = 0;
  IndexStorage storage = IndexStorage::kE2m1;

  int n_groups() const { return storage == IndexStorage::kE2m1 ? width / kGroup : 1; }
  int data_bytes() const { return storage == IndexStorage::kE2m1 ? width / 2 : width; }
  int scale_bytes() const { return storage == IndexStorage::kE2m1 ? n_groups() : 4; }
  int row_bytes() const { return data_bytes() + scale_bytes(); }
};

/// Part of a row's channels.
struct Channels {
  int begin = 0;
  int count = 0;

  int end() const { return begin + count; }
};

/// Packed rows in pages: each page holds `rows_per_page` data parts, then as many scale parts.
/// Row r is row r % rows_per_page of page r / rows_per_page.
struct RowPool {
  std::byte* const* pages = nullptr;  // [n_pages] where each page's rows begin
  int rows_per_page = 1;
  int data_bytes = 0;
  int scale_bytes = 0;
  // Pages between the rows of one KV head and those of the next, where heads do not share rows.
  std::int64_t head_pages = 0;

  std::byte* data(std::int64_t row) const {
    return pages[row / rows_per_page] + row % rows_per_page * data_bytes;
  }
  std::byte* scales(std::int64_t row) const {
    return pages[row / rows_per_page] + std::int64_t{rows_per_page} * data_bytes +
           row % rows_per_page * scale_bytes;
  }
  /// The rows of KV head `head` alone.
  RowPool of_head(std::int64_t head) const {
    RowPool pool = *this;
    pool.pages += head * head_pages;
    pool.head_pages = 0;
    return pool;
  }
};

/// The window rows that one step can read: the ring of the last `window` positions before the step
/// in page 0, and the step's own rows after it.  So the rows that a step overwrites stay readable
/// until the step is committed.
struct WindowRows {
  RowPool pool;                 // rows_per_page == window
  int window = 0;               // W
  std::int64_t step_begin = 0;  // position of the step's first token
  // step_begin in the backend's memory, for one that repeats recorded steps; null: no such step
  const std::int64_t* step_begin_cell = nullptr;

  std::int64_t slot(std::int64_t position) const {
    return position < step_begin ? position % window : window + (position - step_begin);
  }
  /// First position visible to a query at `position`.
  std::int64_t first_visible(std::int64_t position) const {
    return position < window ? 0 : position - window + 1;
  }
};

/// Which compressed rows each token of a step reads; the only difference between layer kinds.
///   window-only layers    both members empty
///   heavily compressed    n_first[t] = number of leading rows that token t reads
///   sparse                listed[t] = row numbers, -1 = none
/// Of G KV heads each has a list of its own, in row t·G + g of `listed`.
struct RowSelection {
  std::span<const std::int32_t> n_first;  // [T]
  Mat<const std::int32_t> listed;         // [T·G, K]
  // No n_first is larger.  Needed with n_first where the host cannot read it.
  std::int64_t max_first = -1;
};

}  // namespace precis
