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

/// One packed KV row: `nope` e4m3 codes in groups of 64, then `rope` rotated values; the group
/// scales (one e8m0 byte each, padded) lie apart.  Released widths 448 + 64 give 576 + 8 bytes.
///
/// Source    spec of FlashMLA's MODEL1 cache row; docs/kv_layout.md
struct KvRowFormat {
  static constexpr int kGroup = 64;

  int nope = 0;
  int rope = 0;
  RopeStorage rope_storage = RopeStorage::kBf16;

  int width() const { return nope + rope; }
  int n_groups() const { return (nope + kGroup - 1) / kGroup; }
  int data_bytes() const { return nope + rope * (rope_storage == RopeStorage::kBf16 ? 2 : 4); }
  int scale_bytes() const { return padded(data_bytes() + n_groups()) - data_bytes(); }
  int row_bytes() const { return data_bytes() + scale_bytes(); }

 private:
  static int padded(int bytes) { return (bytes + 7) / 8 * 8; }
};

/// One packed index row: `width` e2m1 codes, two a byte (even channel in the low nibble), and one
/// e8m0 scale per 32 channels.  Width 128 gives 64 + 4 bytes.
struct IndexRowFormat {
  static constexpr int kGroup = 32;

  int width = 0;

  int n_groups() const { return width / kGroup; }
  int data_bytes() const { return width / 2; }
  int scale_bytes() const { return n_groups(); }
  int row_bytes() const { return data_bytes() + scale_bytes(); }
};

/// Packed rows in pages: each page holds `rows_per_page` data parts, then as many scale parts.
/// Row r is row r % rows_per_page of page r / rows_per_page.
struct RowPool {
  std::byte* const* pages = nullptr;  // [n_pages] start of each page
  std::int64_t offset = 0;            // bytes from the page's start to these rows
  int rows_per_page = 1;
  int data_bytes = 0;
  int scale_bytes = 0;

  std::byte* data(std::int64_t row) const {
    return pages[row / rows_per_page] + offset + row % rows_per_page * data_bytes;
  }
  std::byte* scales(std::int64_t row) const {
    return pages[row / rows_per_page] + offset + std::int64_t{rows_per_page} * data_bytes +
           row % rows_per_page * scale_bytes;
  }
};

/// The window rows that one step can read: the ring of the last `window` positions before the step
/// in page 0, and the step's own rows after it.  So the rows that a step overwrites stay readable
/// until the step is committed.
struct WindowRows {
  RowPool pool;                 // rows_per_page == window
  int window = 0;               // W
  std::int64_t step_begin = 0;  // position of the step's first token

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
struct RowSelection {
  std::span<const std::int32_t> n_first;  // [T]
  Mat<const std::int32_t> listed;         // [T, K]
};

}  // namespace precis
