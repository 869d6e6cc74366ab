#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "lineage/kinds.h"
#include "lineage/nsa.h"
#include "lineage/patterns.h"
#include "lineage/row_memory.h"
#include "tensor/rows.h"

namespace precis {
namespace {

TEST(Patterns, AreCausalAscendingAndHoldTheTokenItself) {
  for (const PatternFn pattern : {strided_rows, longformer_rows, bigbird_rows}) {
    for (const std::int64_t position : {0, 1, 15, 16, 63, 64, 1000, 8191}) {
      const std::vector<std::int32_t> rows = pattern(position);
      EXPECT_TRUE(std::ranges::is_sorted(rows));
      EXPECT_EQ(std::ranges::adjacent_find(rows), rows.end());
      EXPECT_EQ(rows.back(), position);
      EXPECT_GE(rows.front(), 0);
    }
  }
}

TEST(Patterns, ReadAsManyRowsAsTheirPapersSay) {
  EXPECT_EQ(longformer_rows(8191).size(), 512u + 16);
  EXPECT_EQ(strided_rows(8191).size(), 128u + 63);  // √8192 < 128, and 127, 255, …
  EXPECT_LE(bigbird_rows(8191).size(), 8u * 64);
  EXPECT_GE(bigbird_rows(8191).size(), 5u * 64);
}

TEST(Nsa, FixedBlocksAreAlwaysChosen) {
  NsaParams params;
  params.n_selected = 4;
  const std::int64_t position = 64 * 10 + 5;  // in block 10
  std::vector<float> mass(params.n_blocks(position + 1), 0.0f);
  mass[17] = 1;  // tokens 272 … 303: block 4
  const std::vector<std::int32_t> want{0, 4, 9, 10};
  EXPECT_EQ(choose_blocks(params, mass, position), want);
  EXPECT_EQ(choose_blocks(params, {}, 3), std::vector<std::int32_t>{0});
}

TEST(RowMemory, WrapsAroundThePagesThatFit) {
  const KvRowFormat format{64, 0, RopeStorage::kBf16, NopeStorage::kBf16};  // 128 bytes
  const RowMemory all(format, {.n_rows = 1024, .max_bytes = 1 << 20}, 1);
  EXPECT_FALSE(all.reuses_pages());
  const RowMemory few(format, {.n_rows = 1024, .max_bytes = 3 * 128 * 128}, 1);
  EXPECT_TRUE(few.reuses_pages());
  EXPECT_EQ(few.view().data(0), few.view().data(3 * 128));
  EXPECT_NE(few.view().data(0), few.view().data(2 * 128));
}

TEST(RowMemory, HoldsNumbersOfEveryFormat) {
  for (const KvRowFormat& format :
       {v4_rows().format, mla_rows().format, v32_rows().format, split_rows(2, 32, 16).format}) {
    const RowMemory rows(format, {.n_rows = 300, .n_kv_heads = 2, .max_bytes = 1 << 24}, 1);
    for (const std::int64_t row : {0, 127, 128, 299}) {
      for (const float value : read_kv_row(rows.view().of_head(1), row, format)) {
        EXPECT_GE(std::abs(value), 0.5f);
        EXPECT_LT(std::abs(value), 2.0f);
      }
    }
  }
}

TEST(Kinds, CacheBytesAreThoseOfTheFormats) {
  const AttentionShape flash = attention_shape("flash").value();
  EXPECT_EQ(cache_size("dense-mha", flash).per_token, 64 * 512);
  EXPECT_EQ(cache_size("mla", flash).per_token, 1152);
  EXPECT_EQ(cache_size("dsa", flash).per_token, 656 + 132);
  EXPECT_EQ(cache_size("csa", flash).per_token, (584 + 68) / 4.0);
  EXPECT_EQ(cache_size("hca", flash).per_token, 584 / 128.0);
  // docs/model.md §8: 3514.25 bytes a token in all layers.
  EXPECT_DOUBLE_EQ(cache_size("v4", flash).per_token * 43, 3514.25);
}

}  // namespace
}  // namespace precis
