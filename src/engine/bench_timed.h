// A backend that times every operation of another one and adds up what each should cost.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "precis/bench.h"
#include "precis/status.h"

#include "ops/backend.h"
#include "ops/cost.h"

namespace precis {

/// Hands every call to `inner` and keeps time, cost and bound by label: the operation, and where
/// one name stands for different work, its shape or kind of layer.
///
/// Weights are the inner backend's own.  On a device each call is waited for, so that its time holds
/// a launch and an answer, some 10 microseconds, and steps are not repeated from a recording.
class TimedBackend final : public Backend {
 public:
  /// The rates for a call that moves so many bytes.
  using PeakFn = std::function<Peak(double bytes)>;

  explicit TimedBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  /// From now on calls also get a bound; before, it is 0.
  void judge_by(PeakFn peak) { peak_ = std::move(peak); }

  struct Taken {
    std::vector<OpProfile> ops;  // most expensive first
    double bookkeeping_s = 0;    // spent on measuring itself
  };
  /// The calls since the last take().
  Taken take();

  std::string name() const override { return inner_->name(); }
  std::string isa() const override { return inner_->isa(); }
  bool host_readable() const override { return inner_->host_readable(); }
  Result<void> check_sizes(const ModelSizes& sizes) const override {
    return inner_->check_sizes(sizes);
  }
  std::optional<DeviceMemory> memory() const override { return inner_->memory(); }
  Result<void> reserve(std::int64_t n_bytes) override { return inner_->reserve(n_bytes); }
  Buffer allocate(std::size_t n_bytes) override { return inner_->allocate(n_bytes); }
  void copy_in(std::byte* device, std::span<const std::byte> host) override {
    inner_->copy_in(device, host);
  }
  void copy_out(std::span<std::byte> host, const std::byte* device) override {
    inner_->copy_out(host, device);
  }
  std::unique_ptr<Weight> load_weight(const WeightSource& source) override {
    return inner_->load_weight(source);
  }
  std::size_t weight_bytes(const WeightSource& source) const override {
    return inner_->weight_bytes(source);
  }

 private:
  void do_embed(const EmbedArgs& a) override;
  void do_linear(const LinearArgs& a) override;
  void do_rms_norm(const RmsNormArgs& a) override;
  void do_add_to_streams(const AddToStreamsArgs& a) override;
  void do_hyper_pre(const HyperPreArgs& a) override;
  void do_hyper_post(const HyperPostArgs& a) override;
  void do_hyper_head(const HyperHeadArgs& a) override;
  void do_query(const QueryArgs& a) override;
  void do_window_rows(const WindowRowsArgs& a) override;
  void do_commit_window(const CommitWindowArgs& a) override;
  void do_index_query(const IndexQueryArgs& a) override;
  void do_compress(const CompressArgs& a) override;
  void do_select(const SelectArgs& a) override;
  void do_attend(const AttendArgs& a) override;
  void do_route(const RouteArgs& a) override;
  void do_experts(const ExpertsArgs& a) override;

  /// Runs `call` under the clock and books it, then adds the cost of `args`.
  template <typename Args, typename Call>
  void timed(const std::string& label, const Args& args, const Call& call);
  void wait();
  template <typename Args>
  Cost cost_of(const Args& args) {
    return cost(args);
  }
  // Their costs depend on numbers in the backend's memory.
  Cost cost_of(const SelectArgs& args);
  Cost cost_of(const AttendArgs& args);
  std::vector<std::int32_t> on_host(const std::int32_t* data, std::size_t n);

  std::unique_ptr<Backend> inner_;
  Buffer flag_;  // what wait() reads
  PeakFn peak_;
  std::map<std::string, OpProfile> profiles_;
  double bookkeeping_s_ = 0;
};

/// The rates by which operations are judged; none without a machine.
///
/// Errors    as peak_of
Result<TimedBackend::PeakFn> peaks_of(const std::optional<Machine>& machine, const std::string& isa,
                                      int n_threads);

}  // namespace precis
