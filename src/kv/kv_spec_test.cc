// The published byte figures of the released models, from their layer schedules alone.
#include "kv/kv_spec.h"

#include <gtest/gtest.h>

namespace precis {
namespace {

constexpr double kMib = 1 << 20;
constexpr LayerKvSpec kWindow{};
constexpr LayerKvSpec kSparse{4, true, true};
constexpr LayerKvSpec kHeavy{128, false, false};

KvSpec released_rows() {
  KvSpec spec;
  spec.window = 128;
  spec.kv = {448, 64, RopeStorage::kBf16};
  spec.index = {128};
  return spec;
}

// Two layers of kind `first`, then sparse and heavy in turns; the last is sparse.
KvSpec schedule(KvSpec spec, LayerKvSpec first, int n_pairs) {
  spec.layers = {first, first};
  for (int i = 0; i < n_pairs; ++i) {
    spec.layers.push_back(kSparse);
    spec.layers.push_back(kHeavy);
  }
  spec.layers.push_back(kSparse);
  return spec;
}

KvSpec flash() {
  return schedule(released_rows(), kWindow, 20);
}
KvSpec pro() {
  return schedule(released_rows(), kHeavy, 29);
}

KvSpec mini() {
  KvSpec spec;
  spec.window = 128;
  spec.kv = {128, 64, RopeStorage::kBf16};
  spec.index = {128};
  return schedule(spec, kWindow, 1);
}

TEST(KvSpec, ReleasedRowsTake584And68Bytes) {
  EXPECT_EQ(released_rows().kv.row_bytes(), 584);
  EXPECT_EQ(released_rows().kv.data_bytes(), 576);
  EXPECT_EQ(released_rows().kv.scale_bytes(), 8);
  EXPECT_EQ(released_rows().index.row_bytes(), 68);
}

TEST(KvSpec, FlashTakesThePublishedBytes) {
  EXPECT_EQ(flash().n_layers(), 43);
  EXPECT_DOUBLE_EQ(kv_bytes_per_token(flash()), 3514.25);
  const KvBytes bytes = kv_bytes(flash(), 0);
  EXPECT_EQ(bytes.window, 3'214'336);
  EXPECT_EQ(bytes.state, 12'206'080);
  EXPECT_EQ(bytes.growing(), 0);
}

TEST(KvSpec, ProTakesThePublishedBytes) {
  EXPECT_EQ(pro().n_layers(), 61);
  EXPECT_DOUBLE_EQ(kv_bytes_per_token(pro()), 5031.4375);
  const KvBytes bytes = kv_bytes(pro(), 0);
  EXPECT_EQ(bytes.window, 4'559'872);
  EXPECT_EQ(bytes.state, 18'710'528);
}

TEST(KvSpec, MebibytesByLengthAreThoseOfTheModelReport) {
  struct Line {
    std::int64_t n_tokens;
    double pro_mib;
    double flash_mib;
    double last_digit;
  };
  for (const Line& line : {Line{4096, 24.00, 16.79, 0.01}, Line{8192, 43.66, 30.52, 0.01},
                           Line{32768, 161.6, 112.9, 0.1}, Line{65536, 318.8, 222.7, 0.1},
                           Line{131072, 633.3, 442.4, 0.1}, Line{262144, 1262, 881.6, 1},
                           Line{524288, 2520, 1760, 1}, Line{1048576, 5036, 3517, 1}}) {
    const KvBytes p = kv_bytes(pro(), line.n_tokens);
    const KvBytes f = kv_bytes(flash(), line.n_tokens);
    EXPECT_NEAR(static_cast<double>(p.growing() + p.window) / kMib, line.pro_mib, line.last_digit)
        << line.n_tokens;
    EXPECT_NEAR(static_cast<double>(f.growing() + f.window) / kMib, line.flash_mib, line.last_digit)
        << line.n_tokens;
  }
}

TEST(KvSpec, PartsOfFlashAtOneMebitokenAddUp) {
  constexpr std::int64_t kTokens = 1 << 20;
  const KvBytes bytes = kv_bytes(flash(), kTokens);
  EXPECT_EQ(bytes.sparse_rows, 21 * kTokens / 4 * 584);
  EXPECT_EQ(bytes.index_rows, 21 * kTokens / 4 * 68);
  EXPECT_EQ(bytes.heavy_rows, 20 * kTokens / 128 * 584);
  EXPECT_EQ(bytes.total(),
            bytes.sparse_rows + bytes.index_rows + bytes.heavy_rows + bytes.window + bytes.state);
}

TEST(KvSpec, BundledModelTakesTheDocumentedBytes) {
  EXPECT_EQ(mini().kv.row_bytes(), 264);
  EXPECT_EQ(mini().index.row_bytes(), 68);
  EXPECT_DOUBLE_EQ(kv_bytes_per_token(mini()), 168.0625);
  const KvBytes bytes = kv_bytes(mini(), 0);
  EXPECT_EQ(bytes.window, 168'960);
  EXPECT_EQ(bytes.fixed(), 447'488);
  EXPECT_EQ(make_kv_layout(mini()).page_bytes, 21'512);
}

TEST(KvSpec, RowsGrowByWholePages) {
  const std::int64_t page = make_kv_layout(flash()).page_bytes;
  EXPECT_EQ(page, 449'824);
  for (const std::int64_t edge : {128, 256, 1280}) {
    EXPECT_EQ(kv_bytes(flash(), edge).growing(), page * edge / 128);
    EXPECT_EQ(kv_bytes(flash(), edge + 1).growing(), page * (edge / 128 + 1));
  }
}

TEST(KvLayout, PartsOfThePageAndOfTheFixedPartDoNotOverlap) {
  const KvSpec spec = mini();
  const KvLayout layout = make_kv_layout(spec);
  int n_parts = 0;
  std::int64_t in_page = 0;
  const auto expect_next_part = [&](int part, std::int64_t n_bytes) {
    ASSERT_EQ(part, n_parts++);
    EXPECT_EQ(layout.page_parts.at(static_cast<std::size_t>(part)).offset, in_page);
    EXPECT_EQ(layout.page_parts.at(static_cast<std::size_t>(part)).n_bytes, n_bytes);
    in_page += n_bytes;
  };
  std::int64_t in_rings = 0;
  std::int64_t in_states = layout.ring_bytes;
  for (std::size_t n = 0; n < spec.layers.size(); ++n) {
    const LayerKvLayout& at = layout.layers[n];
    EXPECT_EQ(at.ring, in_rings);
    in_rings += 128 * 264;
    if (spec.layers[n].ratio == 0) {
      EXPECT_EQ(at.rows, -1);
      EXPECT_EQ(at.state_kv, -1);
      continue;
    }
    expect_next_part(at.rows, std::int64_t{at.rows_per_page} * 264);
    EXPECT_EQ(at.state_kv, in_states);
    const std::int64_t state_bytes = std::int64_t{4} * at.state_rows * at.state_cols;
    EXPECT_EQ(at.state_score, in_states + state_bytes);
    in_states += 2 * state_bytes;
    if (!spec.layers[n].indexed) continue;
    expect_next_part(at.index_rows, std::int64_t{at.rows_per_page} * 68);
    EXPECT_EQ(at.index_state_kv, in_states);
    in_states += 2 * std::int64_t{4} * at.state_rows * at.index_state_cols;
  }
  EXPECT_EQ(in_page, layout.page_bytes);
  EXPECT_EQ(in_rings, layout.ring_bytes);
  EXPECT_EQ(in_states, layout.fixed_bytes());
}

}  // namespace
}  // namespace precis
