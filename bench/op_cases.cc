#include "bench/op_cases.h"

#include <algorithm>
#include <cmath>

namespace precis::bench {
namespace {

constexpr float kEps = 1e-6F;
constexpr float kSwigluLimit = 10;
constexpr Rounding kRounding = Rounding::kBf16;
constexpr InputQuant kQuantised = InputQuant::kFp8Group128;

// So many experts hold weights of their own; the others share them in turn.  A step reads as many
// expert matrices as with all of them, and together they are far larger than a cache.
constexpr int kDistinctExperts = 16;

using Shape = std::vector<std::pair<std::string, std::int64_t>>;

// Wraps arguments whose operands `data` owns.
template <typename Args, typename Run>
OpCase make_case(Backend& backend, std::shared_ptr<OpData> data, const Args& args, Run run) {
  return {std::move(data), [&backend, args, run] { (backend.*run)(args); }, cost(args)};
}

// Builds the recipes of one model and step size.
class Recipes {
 public:
  Recipes(const ModelShape& model, std::int64_t n_tokens) : m_(model), t_(n_tokens) {}

  void add_projections();
  void add_row_work();
  void add_hyper();
  void add_compressors();
  void add_experts();
  void add_head();
  void add_window_attend();
  void add_context(std::int64_t context);

  std::vector<OpRecipe> take() { return std::move(recipes_); }

 private:
  using Data = std::shared_ptr<OpData>;

  // `fill` sets the arguments of `run` from fresh operands.
  template <typename Args, typename Fill>
  void add(const char* op, const char* part, const char* dtype, Shape shape,
           void (Backend::*run)(const Args&), const Fill& fill) {
    recipes_.push_back({op, part, dtype, std::move(shape), [run, fill](Backend& backend) {
                          auto data = std::make_shared<OpData>(backend);
                          Args args;
                          fill(*data, args);
                          return make_case(backend, data, args, run);
                        }});
  }
  void add_linear(const char* part, WeightFormat format, InputQuant input, std::int64_t n_in,
                  std::vector<std::int64_t> n_out, int n_groups = 1);
  void add_compressor(const char* part, int ratio, int width, CompressedKind kind);
  void add_attend(const char* part, std::int64_t context, int ratio);
  void add_select(std::int64_t context);

  KvRowFormat kv() const { return {m_.dh - m_.dr, m_.dr, RopeStorage::kBf16}; }
  std::int64_t first_position(std::int64_t context) const {
    return std::max<std::int64_t>(0, context - t_);
  }

  const ModelShape& m_;
  std::int64_t t_;
  std::vector<OpRecipe> recipes_;
};

const char* dtype_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32: return "f32";
    case WeightFormat::kBf16: return "bf16";
    case WeightFormat::kFp8Block: return "fp8";
    case WeightFormat::kFp4Group: return "fp4";
  }
  return "";
}

void Recipes::add_linear(const char* part, WeightFormat format, InputQuant input, std::int64_t n_in,
                         std::vector<std::int64_t> n_out, int n_groups) {
  std::int64_t n_out_sum = 0;
  for (const std::int64_t n : n_out) n_out_sum += n;
  // The targets are kept by the arguments' span, so they live with the operands.
  recipes_.push_back(
      {"linear", part, dtype_of(format),
       Shape{{"T", t_}, {"n_in", n_in}, {"n_out", n_out_sum}, {"groups", n_groups}},
       [=, t = t_](Backend& backend) {
         auto data = std::make_shared<OpData>(backend);
         auto targets = std::make_shared<std::vector<LinearTarget>>();
         for (const std::int64_t n : n_out) {
           targets->push_back({data->weight(format, n, n_in), data->mat(t, n)});
         }
         LinearArgs args;
         args.x = data->mat(t, n_in * n_groups);
         args.targets = *targets;
         args.n_groups = n_groups;
         args.input = input;
         args.rounding = kRounding;
         return OpCase{data, [&backend, args, targets] { backend.linear(args); }, cost(args)};
       }});
}

void Recipes::add_projections() {
  const auto fp8 = WeightFormat::kFp8Block;
  const auto bf16 = WeightFormat::kBf16;
  add_linear("wq_a+wkv", fp8, kQuantised, m_.d, {m_.lq, m_.dh});
  add_linear("wq_b", fp8, kQuantised, m_.lq, {std::int64_t{m_.h} * m_.dh});
  add_linear("wo_a", fp8, InputQuant::kNone, std::int64_t{m_.h} * m_.dh / m_.g,
             {std::int64_t{m_.g} * m_.lo}, m_.g);
  add_linear("wo_b", fp8, kQuantised, std::int64_t{m_.g} * m_.lo, {m_.d});
  add_linear("sparse compressor", bf16, InputQuant::kNone, m_.d, {2 * m_.dh, 2 * m_.dh});
  add_linear("heavy compressor", bf16, InputQuant::kNone, m_.d, {m_.dh, m_.dh});
  add_linear("index compressor", bf16, InputQuant::kNone, m_.d, {2 * m_.di, 2 * m_.di});
  add_linear("indexer.wq_b", fp8, kQuantised, m_.lq, {std::int64_t{m_.hi} * m_.di});
  add_linear("indexer.weights_proj", bf16, InputQuant::kNone, m_.d, {m_.hi});
}

void Recipes::add_row_work() {
  const ModelShape m = m_;
  const std::int64_t t = t_;
  add<EmbedArgs>("embed", "", "bf16", {{"T", t}, {"M", kStreams}, {"D", m.d}}, &Backend::embed,
                 [=](OpData& data, EmbedArgs& a) {
                   a.table = data.weight(WeightFormat::kBf16, m.vocab, m.d);
                   a.ids = data.integers(t, m.vocab / 2);
                   a.out = data.cube(t, kStreams, m.d);
                 });
  add<RmsNormArgs>("rms_norm", "attn_norm", "f32", {{"n", t}, {"width", m.d}}, &Backend::rms_norm,
                   [=](OpData& data, RmsNormArgs& a) {
                     a = {data.mat(t, m.d), data.vector(m.d), data.mat(t, m.d), kEps, kRounding};
                   });
  add<QueryArgs>("query", "", "f32", {{"T", t}, {"H", m.h}, {"Dh", m.dh}}, &Backend::query,
                 [=](OpData& data, QueryArgs& a) {
                   a = {data.cube(t, m.h, m.dh), data.rope(t, m.dr, 1000), kEps, kRounding};
                 });
  add<AddToStreamsArgs>(
      "add_to_streams", "mtp", "f32", {{"T", t}, {"M", kStreams}, {"D", m.d}},
      &Backend::add_to_streams, [=](OpData& data, AddToStreamsArgs& a) {
        // Zeros: the operation adds to its own result again and again.
        const std::span<std::int32_t> zeros = data.integers(t * m.d, 0);
        a = {Mat<const float>(reinterpret_cast<const float*>(zeros.data()), t, m.d),
             data.cube(t, kStreams, m.d), kRounding};
      });
  const KvRowFormat format = kv();
  add<WindowRowsArgs>("window_rows", "", "fp8", {{"T", t}, {"Dh", m.dh}}, &Backend::window_rows,
                      [=](OpData& data, WindowRowsArgs& a) {
                        a = {data.mat(t, m.dh),
                             data.vector(m.dh),
                             data.rope(t, m.dr, 1000),
                             format,
                             data.window(1000, t, format),
                             kEps,
                             kRounding};
                      });
  add<CommitWindowArgs>("commit_window", "", "fp8", {{"T", t}, {"Dh", m.dh}},
                        &Backend::commit_window, [=](OpData& data, CommitWindowArgs& a) {
                          a = {data.window(1000, t, format), t};
                        });
  add<IndexQueryArgs>("index_query", "", "fp4", {{"T", t}, {"Hi", m.hi}, {"Di", m.di}},
                      &Backend::index_query, [=](OpData& data, IndexQueryArgs& a) {
                        const IndexRowFormat index{m.di};
                        a = {data.cube(t, m.hi, m.di), data.rope(t, m.dr, 1000), index,
                             data.index_rows(t * m.hi, static_cast<int>(t) * m.hi, index),
                             kRounding};
                      });
}

void Recipes::add_hyper() {
  const std::int64_t t = t_;
  const std::int64_t d = m_.d;
  const HyperParams params{kEps, kEps, 20};
  const Shape shape{{"T", t}, {"M", kStreams}, {"D", d}};
  add<HyperPreArgs>("hyper_pre", "", "f32", shape, &Backend::hyper_pre,
                    [=](OpData& data, HyperPreArgs& a) {
                      constexpr int kMix = kStreams * (2 + kStreams);
                      a.streams = data.cube(t, kStreams, d);
                      a.weights = {data.weight(WeightFormat::kF32, kMix, kStreams * d),
                                   data.vector(kMix), data.vector(3)};
                      a.params = params;
                      a.x = data.mat(t, d);
                      a.post = data.mat(t, kStreams);
                      a.comb = data.mat(t, kStreams * kStreams);
                      a.rounding = kRounding;
                    });
  add<HyperPostArgs>("hyper_post", "", "f32", shape, &Backend::hyper_post,
                     [=](OpData& data, HyperPostArgs& a) {
                       a = {data.mat(t, d),
                            data.cube(t, kStreams, d),
                            data.mat(t, kStreams),
                            data.mat(t, kStreams * kStreams),
                            data.cube(t, kStreams, d),
                            kRounding};
                     });
}

void Recipes::add_compressor(const char* part, int ratio, int width, CompressedKind kind) {
  const ModelShape m = m_;
  const std::int64_t t = t_;
  const KvRowFormat kv_format = kv();
  add<CompressArgs>("compress", part, "f32", {{"T", t}, {"w", width}, {"R", ratio}},
                    &Backend::compress, [=](OpData& data, CompressArgs& a) {
                      const bool overlap = ratio == kSparseRatio;
                      const std::int64_t cols = std::int64_t{width} * (overlap ? 2 : 1);
                      const std::int64_t state_rows = std::int64_t{ratio} * (overlap ? 2 : 1);
                      a.kv = data.mat(t, cols);
                      a.score = data.mat(t, cols);
                      a.ape = data.vector(ratio * cols);
                      a.norm = data.vector(width);
                      a.state_kv = data.mat(state_rows, cols);
                      a.state_score = data.mat(state_rows, cols);
                      a.ratio = ratio;
                      a.overlap = overlap;
                      // A single token finishes a block: the expensive one of R tokens.
                      a.first_position = t == 1 ? 8 * kHeavyRatio - 1 : 8 * kHeavyRatio;
                      a.rope = data.rope(a.n_finished(), m.dr, a.first_row() * ratio, ratio);
                      a.kind = kind;
                      a.kv_format = kv_format;
                      a.index_format = {m.di};
                      const std::int64_t n_rows = a.first_row() + a.n_finished();
                      a.rows = kind == CompressedKind::kKvRow
                                   ? data.kv_rows(n_rows, kHeavyRatio / ratio, kv_format)
                                   : data.index_rows(n_rows, kHeavyRatio / ratio, a.index_format);
                      a.eps = kEps;
                      a.rounding = kRounding;
                    });
}

void Recipes::add_compressors() {
  add_compressor("sparse", kSparseRatio, m_.dh, CompressedKind::kKvRow);
  add_compressor("heavy", kHeavyRatio, m_.dh, CompressedKind::kKvRow);
  add_compressor("index", kSparseRatio, m_.di, CompressedKind::kIndexRow);
}

void Recipes::add_experts() {
  const ModelShape m = m_;
  const std::int64_t t = t_;
  add<RouteArgs>("route", "", "bf16", {{"T", t}, {"D", m.d}, {"E", m.e}}, &Backend::route,
                 [=](OpData& data, RouteArgs& a) {
                   a.x = data.mat(t, m.d);
                   a.gate = data.weight(WeightFormat::kBf16, m.e, m.d);
                   a.bias = data.vector(m.e);
                   a.ids = data.integers(t, 0);
                   a.expert_idx = data.choices(t, m.a, m.e);
                   a.weight = data.mat(t, m.a);
                 });
  const Shape shape{{"T", t}, {"D", m.d}, {"F", m.f}, {"E", m.e}, {"A", m.a}};
  recipes_.push_back(
      {"experts", "", "fp4", shape, [=](Backend& backend) {
         auto data = std::make_shared<OpData>(backend);
         const auto expert = [&](WeightFormat format) {
           return ExpertWeights{data->weight(format, m.f, m.d), data->weight(format, m.f, m.d),
                                data->weight(format, m.d, m.f)};
         };
         auto experts = std::make_shared<std::vector<ExpertWeights>>();
         for (int e = 0; e < m.e; ++e) {
           experts->push_back(e < kDistinctExperts
                                  ? expert(WeightFormat::kFp4Group)
                                  : (*experts)[static_cast<std::size_t>(e % kDistinctExperts)]);
         }
         ExpertsArgs a;
         a.x = data->mat(t, m.d);
         a.expert_idx = data->choices(t, m.a, m.e);
         a.weight = data->mat(t, m.a);
         a.experts = *experts;
         a.shared = expert(WeightFormat::kFp8Block);
         a.swiglu_limit = kSwigluLimit;
         a.expert_input = a.shared_input = kQuantised;
         a.out = data->mat(t, m.d);
         a.rounding = kRounding;
         return OpCase{data, [&backend, a, experts] { backend.experts(a); }, cost(a)};
       }});
}

// One row of logits a step is what generating text needs.
void Recipes::add_head() {
  const std::int64_t d = m_.d;
  add<HyperHeadArgs>("hyper_head", "", "f32", {{"T", t_}, {"M", kStreams}, {"D", d}},
                     &Backend::hyper_head, [=, t = t_](OpData& data, HyperHeadArgs& a) {
                       a.streams = data.cube(t, kStreams, d);
                       a.weights = {data.weight(WeightFormat::kF32, kStreams, kStreams * d),
                                    data.vector(kStreams), data.vector(1)};
                       a.params = {kEps, kEps, 20};
                       a.x = data.mat(t, d);
                       a.rounding = kRounding;
                     });
  add_linear("head", WeightFormat::kBf16, InputQuant::kNone, d, {m_.vocab});
}

void Recipes::add_select(std::int64_t context) {
  const ModelShape m = m_;
  const std::int64_t t = t_;
  const std::int64_t begin = first_position(context);
  add<SelectArgs>(
      "select", "", "fp4", {{"T", t}, {"Hi", m.hi}, {"Di", m.di}, {"K", m.k}, {"S", begin + t}},
      &Backend::select, [=](OpData& data, SelectArgs& a) {
        const IndexRowFormat index{m.di};
        a.queries = data.index_rows(t * m.hi, static_cast<int>(t) * m.hi, index);
        a.weights = data.mat(t, m.hi);
        a.weight_scale = 1.0F / std::sqrt(static_cast<float>(m.di * m.hi));
        a.keys = data.index_rows((begin + t) / kSparseRatio, kHeavyRatio / kSparseRatio, index);
        a.format = index;
        const std::span<std::int32_t> visible = data.integers(t, 0);
        for (std::int64_t i = 0; i < t; ++i) {
          visible[static_cast<std::size_t>(i)] =
              static_cast<std::int32_t>((begin + i + 1) / kSparseRatio);
        }
        a.n_visible = visible;
        a.out = data.choices(t, m.k, m.k);
        a.rounding = kRounding;
      });
}

// ratio 0: the window alone.
void Recipes::add_attend(const char* part, std::int64_t context, int ratio) {
  const ModelShape m = m_;
  const std::int64_t t = t_;
  const std::int64_t begin = first_position(context);
  const KvRowFormat format = kv();
  add<AttendArgs>("attend", part, "fp8", {{"T", t}, {"H", m.h}, {"Dh", m.dh}, {"S", begin + t}},
                  &Backend::attend, [=](OpData& data, AttendArgs& a) {
                    a.q = data.cube(t, m.h, m.dh);
                    a.format = format;
                    a.window = data.window(begin, t, format);
                    if (ratio > 0) {
                      a.compressed = data.kv_rows((begin + t) / ratio, kHeavyRatio / ratio, format);
                    }
                    if (ratio == kHeavyRatio) {
                      const std::span<std::int32_t> n_first = data.integers(t, 0);
                      for (std::int64_t i = 0; i < t; ++i) {
                        n_first[static_cast<std::size_t>(i)] =
                            static_cast<std::int32_t>((begin + i + 1) / ratio);
                      }
                      a.selection.n_first = n_first;
                    }
                    if (ratio == kSparseRatio) {
                      a.selection.listed = data.choices(t, m.k, (begin + 1) / ratio);
                    }
                    a.sink = data.vector(m.h);
                    a.scale = 1.0F / std::sqrt(static_cast<float>(m.dh));
                    a.rope = data.rope(t, m.dr, begin);
                    a.out = data.cube(t, m.h, m.dh);
                    a.rounding = kRounding;
                  });
}

// Any context beyond the window costs the same.
void Recipes::add_window_attend() {
  add_attend("window", 16 * kWindow, 0);
}

void Recipes::add_context(std::int64_t context) {
  add_select(context);
  add_attend("sparse", context, kSparseRatio);
  add_attend("heavy", context, kHeavyRatio);
}

}  // namespace

std::vector<OpRecipe> recipes(const ModelShape& model, std::int64_t n_tokens,
                              const std::vector<std::int64_t>& contexts) {
  Recipes all(model, n_tokens);
  all.add_projections();
  all.add_row_work();
  all.add_hyper();
  all.add_compressors();
  all.add_experts();
  all.add_window_attend();
  if (n_tokens == 1) all.add_head();
  std::vector<OpRecipe> out = all.take();

  Recipes by_context(model, n_tokens);
  for (const std::int64_t context : contexts) by_context.add_context(context);
  for (OpRecipe& recipe : by_context.take()) out.push_back(std::move(recipe));
  return out;
}

}  // namespace precis::bench
