#include "backend/ref/backend.h"

#include <cstdlib>
#include <cstring>

#include "backend/ref/ops.h"
#include "backend/ref/weight.h"
#include "base/check.h"

namespace precis {
namespace {

constexpr std::size_t kAlignment = 64;

class RefBackend final : public Backend {
 public:
  std::string name() const override { return "ref"; }
  std::string isa() const override { return "scalar"; }

  Buffer allocate(std::size_t n_bytes) override {
    const std::size_t padded = (n_bytes + kAlignment) / kAlignment * kAlignment;
    void* data = std::aligned_alloc(kAlignment, padded);
    PRECIS_CHECK(data != nullptr);
    std::memset(data, 0, padded);
    return Buffer(data, n_bytes, [](void* memory, std::size_t) { std::free(memory); });
  }
  void copy_in(std::byte* device, std::span<const std::byte> host) override {
    if (!host.empty()) std::memcpy(device, host.data(), host.size());
  }
  void copy_out(std::span<std::byte> host, const std::byte* device) override {
    if (!host.empty()) std::memcpy(host.data(), device, host.size());
  }

  std::unique_ptr<Weight> load_weight(const WeightSource& source) override {
    return std::make_unique<ref::RefWeight>(source);
  }
  std::size_t weight_bytes(const WeightSource& source) const override {
    return sizeof(float) * source.n_out * source.n_in;
  }

 private:
  void do_embed(const EmbedArgs& a) override { ref::embed(a); }
  void do_linear(const LinearArgs& a) override { ref::linear(a); }
  void do_rms_norm(const RmsNormArgs& a) override { ref::rms_norm(a); }
  void do_add_to_streams(const AddToStreamsArgs& a) override { ref::add_to_streams(a); }
  void do_hyper_pre(const HyperPreArgs& a) override { ref::hyper_pre(a); }
  void do_hyper_post(const HyperPostArgs& a) override { ref::hyper_post(a); }
  void do_hyper_head(const HyperHeadArgs& a) override { ref::hyper_head(a); }
  void do_query(const QueryArgs& a) override { ref::query(a); }
  void do_window_rows(const WindowRowsArgs& a) override { ref::window_rows(a); }
  void do_commit_window(const CommitWindowArgs& a) override { ref::commit_window(a); }
  void do_index_query(const IndexQueryArgs& a) override { ref::index_query(a); }
  void do_compress(const CompressArgs& a) override { ref::compress(a); }
  void do_select(const SelectArgs& a) override { ref::select(a); }
  void do_attend(const AttendArgs& a) override { ref::attend(a); }
  void do_route(const RouteArgs& a) override { ref::route(a); }
  void do_experts(const ExpertsArgs& a) override { ref::experts(a); }
};

}  // namespace

std::unique_ptr<Backend> make_ref_backend() {
  return std::make_unique<RefBackend>();
}

}  // namespace precis
