#include "lineage/patterns.h"

#include <algorithm>

#include "base/rng.h"

namespace precis {
namespace {

// Rows begin … end − 1, cut to what a token at `position` may see.
void add_rows(std::int64_t begin, std::int64_t end, std::int64_t position,
              std::vector<std::int32_t>& rows) {
  for (std::int64_t row = std::max<std::int64_t>(0, begin); row < std::min(end, position + 1);
       ++row) {
    rows.push_back(static_cast<std::int32_t>(row));
  }
}

std::vector<std::int32_t> sorted_once(std::vector<std::int32_t> rows) {
  std::ranges::sort(rows);
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  return rows;
}

}  // namespace

std::vector<std::int32_t> strided_rows(std::int64_t position) {
  std::int64_t stride = 1;
  while (stride * stride < position + 1) stride *= 2;
  std::vector<std::int32_t> rows;
  for (std::int64_t row = position % stride; row <= position; row += stride) {
    rows.push_back(static_cast<std::int32_t>(row));
  }
  add_rows(position - stride + 1, position + 1, position, rows);
  return sorted_once(std::move(rows));
}

std::vector<std::int32_t> longformer_rows(std::int64_t position) {
  constexpr std::int64_t kWindow = 512;
  constexpr std::int64_t kGlobal = 16;
  std::vector<std::int32_t> rows;
  add_rows(0, kGlobal, position, rows);
  add_rows(position - kWindow + 1, position + 1, position, rows);
  return sorted_once(std::move(rows));
}

std::vector<std::int32_t> bigbird_rows(std::int64_t position) {
  constexpr std::int64_t kBlock = 64;
  constexpr std::int64_t kGlobalBlocks = 2;
  constexpr std::int64_t kWindowBlocks = 3;
  constexpr std::uint64_t kRandomBlocks = 3;
  const std::int64_t own = position / kBlock;
  std::vector<std::int32_t> rows;
  add_rows(0, kGlobalBlocks * kBlock, position, rows);
  add_rows((own - kWindowBlocks + 1) * kBlock, (own + 1) * kBlock, position, rows);
  // Tokens of a block read the same random blocks.
  const auto n_blocks = static_cast<std::uint64_t>(own + 1);
  for (std::uint64_t draw = 0; draw < kRandomBlocks; ++draw) {
    const auto block = static_cast<std::int64_t>(random_bits(n_blocks, draw) % n_blocks);
    add_rows(block * kBlock, (block + 1) * kBlock, position, rows);
  }
  return sorted_once(std::move(rows));
}

}  // namespace precis
