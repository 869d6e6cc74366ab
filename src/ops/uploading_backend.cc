#include "ops/uploading_backend.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

namespace precis {
namespace {

// The device copies of one call; destroying it frees them.
class Call {
 public:
  explicit Call(Backend& inner) : inner_(inner) {}
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  template <typename T>
  const T* in(const T* host, std::int64_t n) {
    return reinterpret_cast<const T*>(upload(host, n * sizeof(T)));
  }
  // Copied in as well: what an operation leaves alone must survive.
  template <typename T>
  T* out(T* host, std::int64_t n) {
    std::byte* device = upload(host, n * sizeof(T));
    write_back(reinterpret_cast<std::byte*>(host), device, n * sizeof(T));
    return reinterpret_cast<T*>(device);
  }
  template <typename T>
  std::span<const T> in(std::span<const T> host) {
    return {in(host.data(), std::ssize(host)), host.size()};
  }
  template <typename T>
  Mat<const T> in(Mat<const T> host) {
    return host.empty()
               ? host
               : Mat<const T>{in(host.data, extent(host)), host.rows, host.cols, host.stride};
  }
  // Row by row: what lies between the rows may belong to another argument.
  template <typename T>
  Mat<T> out(Mat<T> host) {
    if (host.empty()) return host;
    std::byte* device = upload(host.data, extent(host) * sizeof(T));
    const Mat<T> copy{reinterpret_cast<T*>(device), host.rows, host.cols, host.stride};
    for (std::int64_t r = 0; r < host.rows; ++r) {
      write_back(reinterpret_cast<std::byte*>(host.row(r)),
                 reinterpret_cast<const std::byte*>(copy.row(r)), host.cols * sizeof(T));
    }
    return copy;
  }
  template <typename T>
  Cube<const T> in(Cube<const T> host) {
    return {in(host.data, host.n * host.planes * host.cols), host.n, host.planes, host.cols};
  }
  template <typename T>
  Cube<T> out(Cube<T> host) {
    return {out(host.data, host.n * host.planes * host.cols), host.n, host.planes, host.cols};
  }
  RopeTable in(const RopeTable& host) {
    return {in(host.cos_sin), host.first_position, host.stride};
  }

  // The pages that hold rows 0 … n_rows − 1 of each of `n_heads` heads.
  RowPool rows(const RowPool& host, std::int64_t n_rows, bool written, int n_heads = 1) {
    if (host.pages == nullptr || n_rows <= 0) return host;
    const std::int64_t n_pages =
        (n_rows + host.rows_per_page - 1) / host.rows_per_page + (n_heads - 1) * host.head_pages;
    const std::int64_t n_bytes =
        std::int64_t{host.rows_per_page} * (host.data_bytes + host.scale_bytes);
    std::vector<std::byte*> pages;
    for (std::int64_t i = 0; i < n_pages; ++i) {
      std::byte* from = host.pages[i];
      std::byte* to = upload(from, static_cast<std::size_t>(n_bytes));
      if (written) write_back(from, to, static_cast<std::size_t>(n_bytes));
      pages.push_back(to);
    }
    RowPool device = host;
    device.pages = reinterpret_cast<std::byte* const*>(
        upload(pages.data(), pages.size() * sizeof(std::byte*)));
    return device;
  }

  void finish() {
    for (const auto& download : downloads_) download();
  }

 private:
  template <typename T>
  static std::int64_t extent(const Mat<T>& mat) {
    return (mat.rows - 1) * mat.stride + mat.cols;
  }
  std::byte* upload(const void* host, std::size_t n_bytes) {
    if (n_bytes == 0) return nullptr;
    buffers_.push_back(inner_.allocate(n_bytes));
    inner_.copy_in(buffers_.back().data(), {static_cast<const std::byte*>(host), n_bytes});
    return buffers_.back().data();
  }
  void write_back(std::byte* host, const std::byte* device, std::size_t n_bytes) {
    downloads_.emplace_back([this, host, device, n_bytes] {
      inner_.copy_out({host, n_bytes}, device);
    });
  }

  Backend& inner_;
  std::vector<Buffer> buffers_;
  std::vector<std::function<void()>> downloads_;
};

class UploadingBackend final : public Backend {
 public:
  explicit UploadingBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  std::string name() const override { return inner_->name(); }
  std::string isa() const override { return inner_->isa(); }

  // Host memory: a test may read and write what it allocates.
  Buffer allocate(std::size_t n_bytes) override {
    return Buffer(::operator new(n_bytes), n_bytes,
                  [](void* data, std::size_t) { ::operator delete(data); });
  }
  void copy_in(std::byte* device, std::span<const std::byte> host) override {
    std::copy(host.begin(), host.end(), device);
  }
  void copy_out(std::span<std::byte> host, const std::byte* device) override {
    std::copy_n(device, host.size(), host.begin());
  }
  std::unique_ptr<Weight> load_weight(const WeightSource& source) override {
    return inner_->load_weight(source);
  }
  std::size_t weight_bytes(const WeightSource& source) const override {
    return inner_->weight_bytes(source);
  }

 private:
  template <typename Args, typename Run>
  void run(Args a, const Run& run) {
    Call call(*inner_);
    run(call, a);
    call.finish();
  }
  // Calls of one operation, at once.
  template <typename Args>
  void run_all(std::span<const Args> args, void (Backend::*operation)(std::span<const Args>)) {
    run(std::vector<Args>(args.begin(), args.end()), [&](Call& call, std::vector<Args>& all) {
      for (Args& a : all) upload(call, a);
      (inner_.get()->*operation)(all);
    });
  }

  static HyperWeights in(Call& call, HyperWeights weights) {
    weights.base = call.in(weights.base);
    weights.scale = call.in(weights.scale);
    return weights;
  }

  void do_embed(const EmbedArgs& args) override {
    run(args, [&](Call& call, EmbedArgs& a) {
      a.ids = call.in(a.ids);
      a.out = call.out(a.out);
      inner_->embed(a);
    });
  }
  void do_linear(const LinearArgs& args) override {
    run(args, [&](Call& call, LinearArgs& a) {
      a.x = call.in(a.x);
      std::vector<LinearTarget> targets(a.targets.begin(), a.targets.end());
      for (LinearTarget& target : targets) target.out = call.out(target.out);
      a.targets = targets;
      inner_->linear(a);
    });
  }
  void do_rms_norm(const RmsNormArgs& args) override {
    run(args, [&](Call& call, RmsNormArgs& a) {
      a.x = call.in(a.x);
      a.weight = call.in(a.weight);
      a.out = call.out(a.out);
      inner_->rms_norm(a);
    });
  }
  void do_add_to_streams(const AddToStreamsArgs& args) override {
    run(args, [&](Call& call, AddToStreamsArgs& a) {
      a.x = call.in(a.x);
      a.streams = call.out(a.streams);
      inner_->add_to_streams(a);
    });
  }
  void do_hyper_pre(const HyperPreArgs& args) override {
    run(args, [&](Call& call, HyperPreArgs& a) {
      a.streams = call.in(a.streams);
      a.weights = in(call, a.weights);
      a.x = call.out(a.x);
      a.post = call.out(a.post);
      a.comb = call.out(a.comb);
      inner_->hyper_pre(a);
    });
  }
  void do_hyper_post(const HyperPostArgs& args) override {
    run(args, [&](Call& call, HyperPostArgs& a) {
      a.f = call.in(a.f);
      a.post = call.in(a.post);
      a.comb = call.in(a.comb);
      const bool in_place = a.out.data == a.streams.data;
      const Cube<const float> streams = a.streams;
      a.out = call.out(a.out);
      a.streams = in_place ? Cube<const float>(a.out) : call.in(streams);
      inner_->hyper_post(a);
    });
  }
  void do_hyper_head(const HyperHeadArgs& args) override {
    run(args, [&](Call& call, HyperHeadArgs& a) {
      a.streams = call.in(a.streams);
      a.weights = in(call, a.weights);
      a.x = call.out(a.x);
      inner_->hyper_head(a);
    });
  }
  void do_query(const QueryArgs& args) override {
    run(args, [&](Call& call, QueryArgs& a) {
      a.q = call.out(a.q);
      a.rope = call.in(a.rope);
      inner_->query(a);
    });
  }
  void do_window_rows(const WindowRowsArgs& args) override {
    run(args, [&](Call& call, WindowRowsArgs& a) {
      a.kv = call.in(a.kv);
      a.norm = call.in(a.norm);
      a.rope = call.in(a.rope);
      a.rows.pool = call.rows(a.rows.pool, a.rows.window + a.kv.rows, true);
      inner_->window_rows(a);
    });
  }
  void do_commit_window(const CommitWindowArgs& args) override {
    run(args, [&](Call& call, CommitWindowArgs& a) {
      a.rows.pool = call.rows(a.rows.pool, a.rows.window + a.n_tokens, true);
      inner_->commit_window(a);
    });
  }
  void do_index_query(const IndexQueryArgs& args) override {
    run(args, [&](Call& call, IndexQueryArgs& a) {
      a.out = call.rows(a.out, a.q.n * a.q.planes, true);
      a.q = call.in(a.q);
      a.rope = call.in(a.rope);
      inner_->index_query(a);
    });
  }
  void do_compress(const CompressArgs& args) override {
    run(args, [&](Call& call, CompressArgs& a) {
      if (a.n_finished() > 0) a.rows = call.rows(a.rows, a.first_row() + a.n_finished(), true);
      a.kv = call.in(a.kv);
      a.score = call.in(a.score);
      a.ape = call.in(a.ape);
      a.norm = call.in(a.norm);
      a.state_kv = call.out(a.state_kv);
      a.state_score = call.out(a.state_score);
      a.rope = call.in(a.rope);
      inner_->compress(a);
    });
  }
  static void upload(Call& call, SelectArgs& a) {
    std::int64_t n_keys = 0;
    for (const std::int32_t n : a.n_visible) n_keys = std::max<std::int64_t>(n_keys, n);
    a.queries = call.rows(a.queries, a.weights.rows * a.weights.cols, false);
    a.keys = call.rows(a.keys, n_keys, false);
    a.weights = call.in(a.weights);
    a.n_visible = call.in(a.n_visible);
    a.out = call.out(a.out);
  }
  void do_select(const SelectArgs& args) override { do_select_all({&args, 1}); }
  void do_select_all(std::span<const SelectArgs> args) override {
    run_all(args, &Backend::select_all);
  }
  static void upload(Call& call, AttendArgs& a) {
    std::int64_t n_rows = 0;
    for (const std::int32_t n : a.selection.n_first) n_rows = std::max<std::int64_t>(n_rows, n);
    const Mat<const std::int32_t>& listed = a.selection.listed;
    for (std::int64_t t = 0; t < (listed.empty() ? 0 : listed.rows); ++t) {
      for (const std::int32_t row : listed.row_span(t)) {
        n_rows = std::max<std::int64_t>(n_rows, row + 1);
      }
    }
    if (a.window.window > 0) {
      a.window.pool = call.rows(a.window.pool, a.window.window + a.q.n, false, a.n_kv_heads);
    }
    a.compressed = call.rows(a.compressed, n_rows, false, a.n_kv_heads);
    a.q = call.in(a.q);
    if (!a.selection.n_first.empty()) {
      const auto& n_first = a.selection.n_first;
      a.selection.max_first = *std::max_element(n_first.begin(), n_first.end());
    }
    a.selection.n_first = call.in(a.selection.n_first);
    a.selection.listed = call.in(a.selection.listed);
    a.sink = call.in(a.sink);
    a.rope = call.in(a.rope);
    a.out = call.out(a.out);
    a.mass = call.out(a.mass);
  }
  void do_attend(const AttendArgs& args) override { do_attend_all({&args, 1}); }
  void do_attend_all(std::span<const AttendArgs> args) override {
    run_all(args, &Backend::attend_all);
  }
  void do_route(const RouteArgs& args) override {
    run(args, [&](Call& call, RouteArgs& a) {
      a.x = call.in(a.x);
      a.bias = call.in(a.bias);
      a.tid2eid = call.in(a.tid2eid);
      a.ids = call.in(a.ids);
      a.expert_idx = call.out(a.expert_idx);
      a.weight = call.out(a.weight);
      inner_->route(a);
    });
  }
  void do_experts(const ExpertsArgs& args) override {
    run(args, [&](Call& call, ExpertsArgs& a) {
      a.x = call.in(a.x);
      a.expert_idx = call.in(a.expert_idx);
      a.weight = call.in(a.weight);
      a.out = call.out(a.out);
      inner_->experts(a);
    });
  }

  std::unique_ptr<Backend> inner_;
};

}  // namespace

std::unique_ptr<Backend> make_uploading_backend(std::unique_ptr<Backend> inner) {
  return std::make_unique<UploadingBackend>(std::move(inner));
}

}  // namespace precis
