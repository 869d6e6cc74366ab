// The wide selection's keys: from memory to registers, and there the A operand.
#pragma once

#include "backend/cuda/select/wide_queries.cuh"

namespace precis::cuda::wide {

// Rows lane / 4 + 8·r of a warp's 16, group lane % 4 of each; all scales of the rows.
struct PackedKeys {
  std::uint32_t words[2][4];
  std::uint32_t scales[2];
};

// Where a warp's 16 rows are: the load of a page's address is done a round before those behind it.
struct KeyPlace {
  const std::byte* page;  // null where there is no row
  std::uint32_t in_page;  // the first row
};

// A warp's rows are those of one page.
struct KeyReader {
  Rows keys;
  std::int32_t n_rows;
  int page_shift;  // of a power of two of rows a page, otherwise −1

  __device__ KeyReader(const Rows& pool, std::int32_t rows) : keys(pool), n_rows(rows) {
    page_shift = __popc(pool.rows_per_page) == 1 ? __ffs(pool.rows_per_page) - 1 : -1;
  }

  __device__ KeyPlace locate(std::int32_t first) const {
    const auto row = static_cast<std::uint32_t>(first);
    const auto per_page = static_cast<std::uint32_t>(keys.rows_per_page);
    const std::uint32_t page = page_shift >= 0 ? row >> page_shift : row / per_page;
    return {first < n_rows ? keys.pages[page] : nullptr, row - page * per_page};
  }
  // Rows from n_rows on are what their page holds there.
  __device__ PackedKeys load(const KeyPlace& place) const {
    const auto lane = threadIdx.x % kWarp;
    PackedKeys out{{}, {kPlainScales, kPlainScales}};
    if (place.page == nullptr) return out;
    const std::uint32_t row = place.in_page + lane / kLanesOfRow;
    const std::byte* data = place.page + row * kRowBytes + 16 * (lane % kLanesOfRow);
    const std::byte* scales = place.page + keys.rows_per_page * kRowBytes + row * kGroups;
    const bool is_aligned = reinterpret_cast<std::uintptr_t>(place.page) % 16 == 0;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const auto* words = reinterpret_cast<const std::uint32_t*>(data + 8 * r * kRowBytes);
      if (is_aligned) {
        const uint4 four = __ldg(reinterpret_cast<const uint4*>(words));
        out.words[r][0] = four.x;
        out.words[r][1] = four.y;
        out.words[r][2] = four.z;
        out.words[r][3] = four.w;
      } else {
#pragma unroll
        for (int w = 0; w < 4; ++w) out.words[r][w] = __ldg(words + w);
      }
      out.scales[r] = __ldg(reinterpret_cast<const std::uint32_t*>(scales + 8 * r * kGroups));
    }
    return out;
  }
};

// Four steps of 32 channels: word s of every group.  A lane holds its group's, so group sums are those
// of a lane's part alone.
struct KeyOperand {
  std::uint32_t words[4][4];

  __device__ void expand(const PackedKeys& keys, const int (&shifts)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const ByteTable table(shifts[r]);
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        const uint2 bytes = table.bytes(keys.words[r][s]);
        words[s][r] = bytes.x;
        words[s][2 + r] = bytes.y;
      }
    }
  }
  // With scales as shifts; `least` is what remains of each row's.  Returns whether both rows allow it.
  __device__ bool expand_scaled(const PackedKeys& keys, std::uint32_t (&least)[2]) {
    const int group = static_cast<int>(threadIdx.x) % kLanesOfRow;
    bool is_plain = true;
    int shifts[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const ScaleRange range(keys.scales[r]);
      is_plain = is_plain && range.is_plain();
      least[r] = range.least;
      shifts[r] = static_cast<int>((byte_of(keys.scales[r], group) - range.least) & kMaxSpan);
    }
    expand(keys, shifts);
    return is_plain;
  }
  // Keeps the registers until products that read them have ended.
  __device__ void hold_words() {
#pragma unroll
    for (int s = 0; s < 4; ++s) hold(words[s]);
  }
};

}  // namespace precis::cuda::wide
