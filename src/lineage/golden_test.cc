// Each attention against values that others' code computed: tools/make_lineage_golden.py.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include <gtest/gtest.h>

#include "backend/registry.h"
#include "base/threads.h"
#include "checkpoint/safetensors.h"
#include "lineage/kinds.h"
#include "lineage/nsa.h"
#include "tensor/rows.h"

namespace precis {
namespace {

template <typename T>
struct Tensor {
  std::vector<std::int64_t> shape;
  std::vector<T> values;
};

class Golden : public testing::TestWithParam<std::string> {
 protected:
  Golden()
      : checkpoint_(Checkpoint::open(PRECIS_TEST_DATA "/lineage/golden.safetensors").value()) {}

  template <typename T = float>
  Tensor<T> load(const std::string& name) const {
    const TensorInfo* info = checkpoint_.find(name);
    if (info == nullptr) {
      ADD_FAILURE() << name;
      return {};
    }
    const std::span<const std::byte> bytes = checkpoint_.bytes(*info);
    Tensor<T> tensor{{info->shape.begin(), info->shape.end()},
                     std::vector<T>(bytes.size() / sizeof(T))};
    std::memcpy(tensor.values.data(), bytes.data(), bytes.size());
    return tensor;
  }

  Checkpoint checkpoint_;
  ThreadPool threads_{2};
  std::unique_ptr<Backend> backend_ = make_backend(GetParam(), threads_).value();
};
INSTANTIATE_TEST_SUITE_P(Backends, Golden, testing::ValuesIn(backend_names()));

// Rows of every KV head in pages of their own.
struct Pool {
  Pool(const KvRowFormat& row_format, std::int64_t n_rows, int n_per_page, int n_kv_heads)
      : format(row_format), head_pages((n_rows + n_per_page - 1) / n_per_page) {
    const auto page_bytes = static_cast<std::size_t>(n_per_page * format.row_bytes());
    bytes.assign(static_cast<std::size_t>(head_pages * n_kv_heads),
                 std::vector<std::byte>(page_bytes));
    for (std::vector<std::byte>& page : bytes) pages.push_back(page.data());
    view = {pages.data(), n_per_page, format.data_bytes(), format.scale_bytes(), head_pages};
  }
  void write(int kv_head, std::int64_t row, std::span<const float> values) {
    write_kv_row(view.of_head(kv_head), row, format, values);
  }

  KvRowFormat format;
  std::int64_t head_pages;
  std::vector<std::vector<std::byte>> bytes;
  std::vector<std::byte*> pages;
  RowPool view;
};

std::vector<std::int32_t> one_to(std::int64_t n) {
  std::vector<std::int32_t> out(static_cast<std::size_t>(n));
  std::iota(out.begin(), out.end(), 1);
  return out;
}

// Both sides add f32 numbers: Dk products and as many weights as tokens, each off by half a unit
// of at most the largest value, which 64 of them bound.
void expect_close(const std::vector<float>& got, const std::vector<float>& want) {
  ASSERT_EQ(got.size(), want.size());
  float largest = 0;
  for (const float value : want) largest = std::max(largest, std::abs(value));
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], 64 * 0x1p-23 * largest) << i;
  }
}

TEST_P(Golden, MultiHeadAndGroupedEqualLlama) {
  for (const std::string name : {"mha", "gqa"}) {
    const Tensor<float> q = load(name + ".q");  // [T, H, D]
    const Tensor<float> k = load(name + ".k");  // [T, G, D]
    const Tensor<float> v = load(name + ".v");
    const std::int64_t n_tokens = q.shape[0];
    const auto n_kv_heads = static_cast<int>(k.shape[1]);
    const auto dim = static_cast<int>(q.shape[2]);
    const RowUse use = split_rows(n_kv_heads, dim, dim);
    Pool pool(use.format, n_tokens, 8, n_kv_heads);
    for (std::int64_t t = 0; t < n_tokens; ++t) {
      for (int g = 0; g < n_kv_heads; ++g) {
        const auto part = [&](const Tensor<float>& from) {
          return from.values.begin() + (t * n_kv_heads + g) * dim;
        };
        std::vector<float> row(part(k), part(k) + dim);
        row.insert(row.end(), part(v), part(v) + dim);
        pool.write(g, t, row);
      }
    }
    const std::vector<std::int32_t> n_first = one_to(n_tokens);
    std::vector<float> out(q.values.size());
    AttendArgs a;
    a.q = {q.values.data(), n_tokens, q.shape[1], dim};
    a.format = use.format;
    a.key = use.key;
    a.value = use.value;
    a.n_kv_heads = n_kv_heads;
    a.compressed = pool.view;
    a.selection.n_first = n_first;
    a.scale = load(name + ".scale").values[0];
    a.out = {out.data(), n_tokens, q.shape[1], dim};
    backend_->attend(a);
    expect_close(out, load(name + ".out").values);
  }
}

// The absorbed form: queries meet the latent row through the key half of kv_b, and its value half
// takes the sum of latent rows to the head's values.
struct Latent {
  Tensor<float> q;       // [T, H, nope + rope]
  Tensor<float> latent;  // [T, L]
  Tensor<float> rope;    // [T, R]
  Tensor<float> kv_b;    // [H·(nope + v), L]
  std::int64_t value_dim = 0;

  std::int64_t n_tokens() const { return q.shape[0]; }
  std::int64_t n_heads() const { return q.shape[1]; }
  std::int64_t nope() const { return q.shape[2] - rope.shape[1]; }
  std::int64_t width() const { return latent.shape[1] + rope.shape[1]; }
  const float* kv_b_row(std::int64_t head, std::int64_t row) const {
    return kv_b.values.data() + (head * (nope() + value_dim) + row) * latent.shape[1];
  }

  std::vector<float> absorbed_queries() const {
    std::vector<float> out;
    for (std::int64_t i = 0; i < n_tokens() * n_heads(); ++i) {
      const float* query = q.values.data() + i * q.shape[2];
      for (std::int64_t c = 0; c < latent.shape[1]; ++c) {
        double sum = 0;
        for (std::int64_t n = 0; n < nope(); ++n) {
          sum += double{query[n]} * kv_b_row(i % n_heads(), n)[c];
        }
        out.push_back(static_cast<float>(sum));
      }
      out.insert(out.end(), query + nope(), query + q.shape[2]);
    }
    return out;
  }
  std::vector<float> values_of(const std::vector<float>& latent_out) const {
    std::vector<float> out;
    for (std::int64_t i = 0; i < n_tokens() * n_heads(); ++i) {
      for (std::int64_t v = 0; v < value_dim; ++v) {
        const float* row = kv_b_row(i % n_heads(), nope() + v);
        out.push_back(static_cast<float>(std::inner_product(
            row, row + latent.shape[1], latent_out.begin() + i * latent.shape[1], 0.0)));
      }
    }
    return out;
  }
  KvRowFormat format() const {
    return {static_cast<int>(latent.shape[1]), static_cast<int>(rope.shape[1]), RopeStorage::kF32,
            NopeStorage::kBf16};
  }
};

// Attends with the given selection and takes the result back to values.
std::vector<float> attend_latent(Backend& backend, const Latent& l, float scale,
                                 const RowSelection& selection) {
  Pool pool(l.format(), l.n_tokens(), 8, 1);
  for (std::int64_t t = 0; t < l.n_tokens(); ++t) {
    const auto row_of = [&](const Tensor<float>& from) {
      return from.values.begin() + t * from.shape[1];
    };
    std::vector<float> row(row_of(l.latent), row_of(l.latent) + l.latent.shape[1]);
    row.insert(row.end(), row_of(l.rope), row_of(l.rope) + l.rope.shape[1]);
    pool.write(0, t, row);
  }
  const std::vector<float> q = l.absorbed_queries();
  std::vector<float> out(static_cast<std::size_t>(l.n_tokens() * l.n_heads() * l.latent.shape[1]));
  AttendArgs a;
  a.q = {q.data(), l.n_tokens(), l.n_heads(), l.width()};
  a.format = pool.format;
  a.value = {0, static_cast<int>(l.latent.shape[1])};
  a.compressed = pool.view;
  a.selection = selection;
  a.scale = scale;
  a.out = {out.data(), l.n_tokens(), l.n_heads(), l.latent.shape[1]};
  backend.attend(a);
  return l.values_of(out);
}

TEST_P(Golden, AbsorbedLatentAttentionEqualsTheNaiveForm) {
  for (const std::string name : {"v2", "v3"}) {
    SCOPED_TRACE(name);
    const Tensor<float> want = load(name + ".out");
    const Latent latent{load(name + ".q"), load(name + ".latent"), load(name + ".rope"),
                        load(name + ".kv_b"), want.shape[2]};
    const std::vector<std::int32_t> n_first = one_to(latent.n_tokens());
    RowSelection all;
    all.n_first = n_first;
    expect_close(attend_latent(*backend_, latent, load(name + ".scale").values[0], all),
                 want.values);
  }
}

// V3.2: the index selects what its reference selects, and attention over it gives the same values.
TEST_P(Golden, SparseSelectionAndAttentionEqualV32) {
  const Tensor<float> index_q = load("v32.index_q");  // [T, Hi, Di]
  const Tensor<float> index_k = load("v32.index_k");  // [T, Di]
  const Tensor<float> weights = load("v32.index_weights");
  const Tensor<std::int32_t> want_rows = load<std::int32_t>("v32.selected");
  const std::int64_t n_tokens = index_k.shape[0];
  const std::int64_t n_heads = index_q.shape[1];
  const IndexRowFormat format{static_cast<int>(index_k.shape[1]), IndexStorage::kE4m3};
  const auto pack = [&](const Tensor<float>& values, std::vector<std::byte>& bytes,
                        std::byte*& page) {
    const auto n_rows = static_cast<std::int64_t>(values.values.size()) / format.width;
    bytes.resize(static_cast<std::size_t>(n_rows * format.row_bytes()));
    page = bytes.data();
    const RowPool pool{&page, static_cast<int>(n_rows), format.data_bytes(), format.scale_bytes()};
    for (std::int64_t row = 0; row < n_rows; ++row) {
      write_index_row(pool, row, format,
                      std::span(values.values).subspan(row * format.width, format.width));
    }
    return pool;
  };
  std::vector<std::byte> query_bytes, key_bytes;
  std::byte *query_page, *key_page;
  const std::vector<std::int32_t> n_visible = one_to(n_tokens);
  std::vector<std::int32_t> rows(want_rows.values.size());
  SelectArgs select;
  select.queries = pack(index_q, query_bytes, query_page);
  select.keys = pack(index_k, key_bytes, key_page);
  select.weights = {weights.values.data(), n_tokens, n_heads};
  select.weight_scale = 1 / std::sqrt(static_cast<float>(format.width * n_heads));
  select.format = format;
  select.n_visible = n_visible;
  select.out = {rows.data(), n_tokens, want_rows.shape[1]};
  backend_->select(select);

  std::vector<std::int32_t> sorted = rows;
  for (std::int64_t t = 0; t < n_tokens; ++t) {
    const auto begin = sorted.begin() + t * want_rows.shape[1];
    std::sort(begin, std::find(begin, begin + want_rows.shape[1], -1));
  }
  EXPECT_EQ(sorted, want_rows.values);

  const Tensor<float> want = load("v32.out");
  const Latent latent{load("v32.q"), load("v32.latent"), load("v32.rope"), load("v32.kv_b"),
                      want.shape[2]};
  RowSelection chosen;
  chosen.listed = select.out;
  expect_close(attend_latent(*backend_, latent, load("v32.scale").values[0], chosen), want.values);
}

TEST_P(Golden, NativeSparseAttentionEqualsItsPaper) {
  const Tensor<float> q = load("nsa.q");  // [T, H, Dk]
  const Tensor<float> gates = load("nsa.gates");
  const Tensor<float> want = load("nsa.out");
  const Tensor<float> tokens = load("nsa.tokens");  // [G, n, Dk + Dv]
  const Tensor<std::int32_t> chosen = load<std::int32_t>("nsa.chosen");
  const auto n_kv_heads = static_cast<int>(tokens.shape[0]);
  const std::int64_t n = tokens.shape[1];
  const std::int64_t n_tokens = q.shape[0];
  NsaArgs args;
  args.params = {.block = 8, .stride = 4, .select_block = 16, .n_selected = 4, .window = 12};
  const RowUse use =
      split_rows(n_kv_heads, static_cast<int>(q.shape[2]), static_cast<int>(want.shape[2]));
  const auto write_all = [&](Pool& pool, const Tensor<float>& from, const auto& slot_of) {
    for (int g = 0; g < n_kv_heads; ++g) {
      for (std::int64_t r = 0; r < from.shape[1]; ++r) {
        pool.write(
            g, slot_of(r),
            std::span(from.values).subspan((g * from.shape[1] + r) * from.shape[2], from.shape[2]));
      }
    }
  };
  const auto itself = [](std::int64_t row) { return row; };
  const Tensor<float> blocks = load("nsa.blocks");
  const Tensor<float> recent = load("nsa.recent");  // the positions that the window reaches
  Pool token_pool(use.format, n, 16, n_kv_heads);
  Pool block_pool(use.format, blocks.shape[1], 16, n_kv_heads);
  Pool window_pool(use.format, args.params.window + n_tokens, args.params.window, n_kv_heads);
  args.window = {window_pool.view, args.params.window, n - n_tokens};
  write_all(token_pool, tokens, itself);
  write_all(block_pool, blocks, itself);
  write_all(window_pool, recent,
            [&](std::int64_t r) { return args.window.slot(n - recent.shape[1] + r); });
  std::vector<float> out(want.values.size());
  args.q = {q.values.data(), n_tokens, q.shape[1], q.shape[2]};
  args.format = use.format;
  args.key = use.key;
  args.value = use.value;
  args.n_kv_heads = n_kv_heads;
  args.scale = 1 / std::sqrt(static_cast<float>(q.shape[2]));
  args.tokens = token_pool.view;
  args.blocks = block_pool.view;
  args.gates = {gates.values.data(), n_tokens, gates.shape[1]};
  args.out = {out.data(), n_tokens, q.shape[1], want.shape[2]};
  NsaStep step(args);
  step.run(*backend_);

  for (std::int64_t list = 0; list < n_tokens * n_kv_heads; ++list) {
    std::vector<std::int32_t> picked;
    for (const std::int32_t row : step.listed().row_span(list)) {
      if (row >= 0 && row % args.params.select_block == 0) {
        picked.push_back(row / args.params.select_block);
      }
    }
    const auto begin = chosen.values.begin() + list * chosen.shape[2];
    EXPECT_EQ(picked, std::vector<std::int32_t>(begin, begin + chosen.shape[2])) << list;
  }
  expect_close(out, want.values);
}

}  // namespace
}  // namespace precis
