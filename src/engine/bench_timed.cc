#include "engine/bench_timed.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>

#include "base/clock.h"
#include "engine/bench_machine.h"

namespace precis {
namespace {

const char* format_name(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32: return "f32";
    case WeightFormat::kBf16: return "bf16";
    case WeightFormat::kFp8Block: return "fp8";
    case WeightFormat::kFp4Group: return "fp4";
  }
  return "";
}

// Projections differ by shape: "linear 256>160+128 fp8".
std::string label_of(const LinearArgs& a) {
  std::string outputs;
  for (const LinearTarget& target : a.targets) {
    outputs += fmt::format("{}{}", outputs.empty() ? "" : "+", target.weight->n_out());
  }
  return fmt::format("linear {}>{} {}{}", a.x.cols, outputs,
                     format_name(a.targets.front().weight->format()),
                     a.n_groups > 1 ? " grouped" : "");
}

std::string label_of(const AttendArgs& a) {
  if (!a.selection.listed.empty()) return "attend sparse";
  return a.selection.n_first.empty() ? "attend window" : "attend heavy";
}

std::string label_of(const CompressArgs& a) {
  if (a.kind == CompressedKind::kIndexRow) return "compress index";
  return a.overlap ? "compress sparse" : "compress heavy";
}

}  // namespace

Result<TimedBackend::PeakFn> peaks_of(const std::optional<Machine>& machine, const std::string& isa,
                                      int n_threads) {
  if (!machine) return TimedBackend::PeakFn{};
  PRECIS_TRY(peak_of(*machine, isa, n_threads, 0));
  return TimedBackend::PeakFn{[machine = *machine, isa, n_threads](double n_bytes) {
    return peak_of(machine, isa, n_threads, n_bytes).value();
  }};
}

template <typename Args, typename Call>
void TimedBackend::timed(const std::string& label, const Args& args, const Call& call) {
  const Clock::time_point start = Clock::now();
  call();
  if (!host_readable()) wait();
  const Clock::time_point end = Clock::now();
  const double seconds = std::chrono::duration<double>(end - start).count();
  const Cost needed = cost_of(args);
  OpProfile& profile = profiles_[label];
  profile.op = label;
  profile.n_calls += 1;
  profile.seconds += seconds;
  profile.flop += needed.flop.total();
  profile.bytes += needed.bytes;
  if (peak_) profile.bound_s += bound_s(needed, peak_(needed.bytes));
  bookkeeping_s_ += seconds_since(end);
}

void TimedBackend::wait() {
  if (flag_.data() == nullptr) flag_ = inner_->allocate(1);
  std::byte value;
  inner_->copy_out({&value, 1}, flag_.data());
}

std::vector<std::int32_t> TimedBackend::on_host(const std::int32_t* data, std::size_t n) {
  std::vector<std::int32_t> host(n);
  inner_->copy_out(std::as_writable_bytes(std::span(host)),
                   reinterpret_cast<const std::byte*>(data));
  return host;
}

Cost TimedBackend::cost_of(const SelectArgs& args) {
  SelectArgs readable = args;
  const std::vector<std::int32_t> n_visible = on_host(args.n_visible.data(), args.n_visible.size());
  readable.n_visible = n_visible;
  return cost(readable);
}

Cost TimedBackend::cost_of(const AttendArgs& args) {
  AttendArgs readable = args;
  RowSelection& selection = readable.selection;
  const Mat<const std::int32_t>& listed = args.selection.listed;
  const std::size_t n_listed =
      listed.empty() ? 0
                     : static_cast<std::size_t>((listed.rows - 1) * listed.stride + listed.cols);
  const std::vector<std::int32_t> n_first =
      on_host(selection.n_first.data(), selection.n_first.size());
  const std::vector<std::int32_t> rows = on_host(listed.data, n_listed);
  selection.n_first = n_first;
  if (n_listed > 0) selection.listed.data = rows.data();
  return cost(readable);
}

TimedBackend::Taken TimedBackend::take() {
  Taken taken;
  taken.bookkeeping_s = std::exchange(bookkeeping_s_, 0);
  for (auto& [label, profile] : profiles_) taken.ops.push_back(std::move(profile));
  profiles_.clear();
  std::ranges::sort(taken.ops, std::ranges::greater(), &OpProfile::seconds);
  return taken;
}

void TimedBackend::do_embed(const EmbedArgs& a) {
  timed("embed", a, [&] { inner_->embed(a); });
}
void TimedBackend::do_linear(const LinearArgs& a) {
  timed(label_of(a), a, [&] { inner_->linear(a); });
}
void TimedBackend::do_rms_norm(const RmsNormArgs& a) {
  timed("rms_norm", a, [&] { inner_->rms_norm(a); });
}
void TimedBackend::do_add_to_streams(const AddToStreamsArgs& a) {
  timed("add_to_streams", a, [&] { inner_->add_to_streams(a); });
}
void TimedBackend::do_hyper_pre(const HyperPreArgs& a) {
  timed("hyper_pre", a, [&] { inner_->hyper_pre(a); });
}
void TimedBackend::do_hyper_post(const HyperPostArgs& a) {
  timed("hyper_post", a, [&] { inner_->hyper_post(a); });
}
void TimedBackend::do_hyper_head(const HyperHeadArgs& a) {
  timed("hyper_head", a, [&] { inner_->hyper_head(a); });
}
void TimedBackend::do_query(const QueryArgs& a) {
  timed("query", a, [&] { inner_->query(a); });
}
void TimedBackend::do_window_rows(const WindowRowsArgs& a) {
  timed("window_rows", a, [&] { inner_->window_rows(a); });
}
void TimedBackend::do_commit_window(const CommitWindowArgs& a) {
  timed("commit_window", a, [&] { inner_->commit_window(a); });
}
void TimedBackend::do_index_query(const IndexQueryArgs& a) {
  timed("index_query", a, [&] { inner_->index_query(a); });
}
void TimedBackend::do_compress(const CompressArgs& a) {
  timed(label_of(a), a, [&] { inner_->compress(a); });
}
void TimedBackend::do_select(const SelectArgs& a) {
  timed("select", a, [&] { inner_->select(a); });
}
void TimedBackend::do_attend(const AttendArgs& a) {
  timed(label_of(a), a, [&] { inner_->attend(a); });
}
void TimedBackend::do_route(const RouteArgs& a) {
  timed("route", a, [&] { inner_->route(a); });
}
void TimedBackend::do_experts(const ExpertsArgs& a) {
  timed("experts", a, [&] { inner_->experts(a); });
}

}  // namespace precis
