#include "lineage/layer.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "base/check.h"
#include "base/rng.h"
#include "lineage/kinds.h"
#include "lineage/nsa.h"
#include "lineage/patterns.h"
#include "lineage/row_memory.h"

namespace precis {
namespace {

// Streams of random numbers under one seed.
enum Stream : std::uint64_t { kQueries, kRows, kWindowRows, kIndexRows, kIndexQueries, kWeights };

std::uint64_t stream_of(std::uint64_t seed, Stream stream) {
  return random_bits(seed, stream);
}

std::vector<float> random_values(std::int64_t n, float low, float high, std::uint64_t seed) {
  std::vector<float> out(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = low + (high - low) * static_cast<float>(random_unit(seed, i));
  }
  return out;
}

struct IndexUse {
  IndexRowFormat format;
  int n_selected = 0;
};

// How one kind finds the rows of a token.
struct Reading {
  RowUse use;
  int ratio = 1;                       // tokens a row; 0 = no rows besides the window
  int window = 0;                      // V4's, in front of the others
  std::optional<IndexUse> index = {};  // selects by score
  PatternFn pattern = nullptr;         // selects by position
  std::int64_t n_fixed = 0;            // as many rows, whatever the context
};

Reading reading_of(std::string_view kind, const AttentionShape& shape) {
  const RowUse dense = split_rows(shape.n_heads, shape.head_dim, shape.head_dim);
  if (kind == "dense-mha") return {.use = dense};
  if (kind == "sparse-transformer") return {.use = dense, .pattern = strided_rows};
  if (kind == "longformer") return {.use = dense, .pattern = longformer_rows};
  if (kind == "bigbird") return {.use = dense, .pattern = bigbird_rows};
  if (kind == "linformer") return {.use = dense, .n_fixed = kLinformerRows};
  if (kind == "gqa") return {.use = split_rows(shape.n_groups, shape.head_dim, shape.head_dim)};
  if (kind == "mla") return {.use = mla_rows()};
  if (kind == "dsa") return {.use = v32_rows(), .index = IndexUse{kV32Index, kV32Rows}};
  Reading v4{.use = v4_rows(), .window = kV4Window};
  if (kind == "swa") {
    v4.ratio = 0;
  } else if (kind == "csa") {
    v4.ratio = kSparseRatio;
    v4.index = IndexUse{kV4Index, shape.csa_rows};
  } else {
    PRECIS_CHECK(kind == "hca");
    v4.ratio = kHeavyRatio;
  }
  return v4;
}

// Pages of window rows: the ring, then the rows of the largest step.
RowMemory window_memory(const RowUse& use, int window, const AttentionLayer::Size& size) {
  return {use.format,
          {window + size.max_step_tokens, window, use.n_kv_heads, size.max_bytes},
          stream_of(size.seed, kWindowRows)};
}

RowMemory row_memory(const RowUse& use, std::int64_t n_rows, const AttentionLayer::Size& size) {
  return {use.format,
          {.n_rows = n_rows, .n_kv_heads = use.n_kv_heads, .max_bytes = size.max_bytes},
          stream_of(size.seed, kRows)};
}

// At most one selection and one attention: every kind but NSA.
class PlainLayer final : public AttentionLayer {
 public:
  PlainLayer(const Reading& reading, const AttentionShape& shape, const Size& size);

  void prepare(std::int64_t n_tokens) override;
  void run(Backend& backend) override {
    if (reading_.index) backend.select(select_);
    backend.attend(attend_);
  }
  bool reuses_rows() const override { return rows_.reuses_pages() || keys_.reuses_pages(); }

 private:
  std::int64_t n_rows_at(std::int64_t position) const {
    if (reading_.n_fixed > 0) return reading_.n_fixed;
    return reading_.ratio == 0 ? 0 : (position + 1) / reading_.ratio;
  }
  void prepare_select(std::int64_t n_tokens);
  void list_pattern(std::int64_t n_tokens);

  Reading reading_;
  int n_heads_;
  Size size_;
  RowMemory rows_;
  RowMemory window_;
  RowMemory keys_;
  RowMemory index_queries_;
  std::vector<float> q_;
  std::vector<float> out_;
  std::vector<float> weights_;  // of index heads
  std::vector<std::int32_t> n_visible_;
  std::vector<std::int32_t> listed_;
  SelectArgs select_;
  AttendArgs attend_;
};

PlainLayer::PlainLayer(const Reading& reading, const AttentionShape& shape, const Size& size)
    : reading_(reading), n_heads_(shape.n_heads), size_(size) {
  const std::int64_t n_rows = n_rows_at(size.context - 1);
  if (reading.ratio > 0) rows_ = row_memory(reading.use, n_rows, size);
  if (reading.window > 0) window_ = window_memory(reading.use, reading.window, size);
  if (reading.index) {
    keys_ = RowMemory(reading.index->format, {.n_rows = n_rows, .max_bytes = size.max_bytes},
                      stream_of(size.seed, kIndexRows));
  }
}

void PlainLayer::prepare(std::int64_t n_tokens) {
  const RowUse& use = reading_.use;
  q_ = random_values(n_tokens * n_heads_ * use.key.count, -1, 1, stream_of(size_.seed, kQueries));
  out_.assign(static_cast<std::size_t>(n_tokens * n_heads_ * use.value.count), 0);
  n_visible_.clear();
  for (std::int64_t t = 0; t < n_tokens; ++t) {
    n_visible_.push_back(static_cast<std::int32_t>(n_rows_at(size_.context - n_tokens + t)));
  }
  attend_ = {};
  attend_.q = {q_.data(), n_tokens, n_heads_, use.key.count};
  attend_.format = use.format;
  attend_.key = use.key;
  attend_.value = use.value;
  attend_.n_kv_heads = use.n_kv_heads;
  attend_.window = {window_.view(), reading_.window, size_.context - n_tokens};
  attend_.compressed = rows_.view();
  attend_.scale = 1 / std::sqrt(static_cast<float>(use.key.count));
  attend_.out = {out_.data(), n_tokens, n_heads_, use.value.count};
  if (reading_.index) {
    prepare_select(n_tokens);
  } else if (reading_.pattern != nullptr) {
    list_pattern(n_tokens);
  } else if (reading_.ratio > 0) {
    attend_.selection.n_first = n_visible_;
  }
}

void PlainLayer::prepare_select(std::int64_t n_tokens) {
  const IndexUse& index = *reading_.index;
  index_queries_ =
      RowMemory(index.format, {n_tokens * kIndexHeads, kIndexHeads, 1, size_.max_bytes},
                stream_of(size_.seed, kIndexQueries));
  weights_ = random_values(n_tokens * kIndexHeads, 0, 1, stream_of(size_.seed, kWeights));
  listed_.assign(static_cast<std::size_t>(n_tokens * index.n_selected), -1);
  select_ = {};
  select_.queries = index_queries_.view();
  select_.weights = {weights_.data(), n_tokens, kIndexHeads};
  select_.weight_scale = 1 / std::sqrt(static_cast<float>(index.format.width * kIndexHeads));
  select_.keys = keys_.view();
  select_.format = index.format;
  select_.n_visible = n_visible_;
  select_.out = {listed_.data(), n_tokens, index.n_selected};
  attend_.selection.listed = select_.out;
}

void PlainLayer::list_pattern(std::int64_t n_tokens) {
  std::vector<std::vector<std::int32_t>> lists;
  std::size_t longest = 0;
  for (std::int64_t t = 0; t < n_tokens; ++t) {
    lists.push_back(reading_.pattern(size_.context - n_tokens + t));
    longest = std::max(longest, lists.back().size());
  }
  const auto n_kv_heads = static_cast<std::size_t>(reading_.use.n_kv_heads);
  listed_.assign(lists.size() * n_kv_heads * longest, -1);
  for (std::size_t list = 0; list < lists.size() * n_kv_heads; ++list) {
    std::ranges::copy(lists[list / n_kv_heads], listed_.begin() + list * longest);
  }
  attend_.selection.listed = {listed_.data(), n_tokens * reading_.use.n_kv_heads,
                              static_cast<std::int64_t>(longest)};
}

class NsaLayer final : public AttentionLayer {
 public:
  NsaLayer(const AttentionShape& shape, const Size& size)
      : n_heads_(shape.n_heads),
        size_(size),
        use_(split_rows(shape.nsa_groups, shape.nsa_key_dim, shape.head_dim)),
        tokens_(row_memory(use_, size.context, size)),
        blocks_(row_memory(use_, params_.n_blocks(size.context), size)),
        window_(window_memory(use_, params_.window, size)) {}

  void prepare(std::int64_t n_tokens) override {
    q_ =
        random_values(n_tokens * n_heads_ * use_.key.count, -1, 1, stream_of(size_.seed, kQueries));
    gates_ = random_values(n_tokens * 3 * n_heads_, 0, 1, stream_of(size_.seed, kWeights));
    out_.assign(static_cast<std::size_t>(n_tokens * n_heads_ * use_.value.count), 0);
    NsaArgs args;
    args.params = params_;
    args.q = {q_.data(), n_tokens, n_heads_, use_.key.count};
    args.format = use_.format;
    args.key = use_.key;
    args.value = use_.value;
    args.n_kv_heads = use_.n_kv_heads;
    args.scale = 1 / std::sqrt(static_cast<float>(use_.key.count));
    args.window = {window_.view(), params_.window, size_.context - n_tokens};
    args.tokens = tokens_.view();
    args.blocks = blocks_.view();
    args.gates = {gates_.data(), n_tokens, 3 * n_heads_};
    args.out = {out_.data(), n_tokens, n_heads_, use_.value.count};
    step_.emplace(args);
  }
  void run(Backend& backend) override { step_->run(backend); }
  bool reuses_rows() const override { return tokens_.reuses_pages(); }

 private:
  NsaParams params_;
  std::int64_t n_heads_;
  Size size_;
  RowUse use_;
  RowMemory tokens_;
  RowMemory blocks_;
  RowMemory window_;
  std::vector<float> q_;
  std::vector<float> gates_;
  std::vector<float> out_;
  std::optional<NsaStep> step_;
};

}  // namespace

std::unique_ptr<AttentionLayer> make_attention_layer(std::string_view kind,
                                                     const AttentionShape& shape,
                                                     const AttentionLayer::Size& size) {
  if (kind == "nsa") return std::make_unique<NsaLayer>(shape, size);
  return std::make_unique<PlainLayer>(reading_of(kind, shape), shape, size);
}

}  // namespace precis
