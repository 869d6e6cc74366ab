// The contract between the model and the machine: memory, weights and the operations.
//
// Public calls check their arguments once and hand over to one virtual each; a backend implements
// the virtuals and nothing else.  What an operation means is said in its own header and executed by
// backend/ref.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "precis/status.h"

#include "ops/attend.h"
#include "ops/compress.h"
#include "ops/embed.h"
#include "ops/experts.h"
#include "ops/hyper.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "ops/op_counter.h"
#include "ops/query.h"
#include "ops/select.h"
#include "ops/weight.h"
#include "tensor/buffer.h"

namespace precis {

/// Memory of a device of its own.
struct DeviceMemory {
  std::string device;  // "cuda:0 (NVIDIA H100 80GB HBM3)"
  std::int64_t total_bytes = 0;
  std::int64_t free_bytes = 0;       // to this process, what it has set aside included
  std::int64_t workspace_bytes = 0;  // that operations take besides their arguments
};

/// The sizes of a model for which a backend may have limits.
struct ModelSizes {
  KvRowFormat kv;
  IndexRowFormat index;  // width 0: no sparse layer
  int n_streams = 1;
  int n_experts = 0;
  int n_active_experts = 0;
};

/// One device with its memory and its operations.
///
/// Threads   one caller at a time
class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string name() const = 0;  // "ref", "cpu", "cuda"
  virtual std::string isa() const = 0;   // what it runs on: "avx512", "sm_90a", …
  /// Whether the host may read this backend's memory.  Where not, ids, counts and lists are not
  /// checked again: they were when the host made them.
  virtual bool host_readable() const { return true; }

  /// Errors    kUnsupported — a size that this backend's operations cannot run; the message names it
  virtual Result<void> check_sizes(const ModelSizes& sizes) const {
    (void)sizes;
    return {};
  }

  /// None where memory is the host's, which the system hands out page by page.
  virtual std::optional<DeviceMemory> memory() const { return std::nullopt; }
  /// Sets memory aside, so that allocations of `n_bytes` in all, those so far included, succeed.
  ///
  /// Errors    kBudget — the device has not as much; nothing is set aside then
  virtual Result<void> reserve(std::int64_t n_bytes) {
    (void)n_bytes;
    return {};
  }

  /// Zeroed memory of this backend.  Large CPU buffers take resident memory only when touched.
  virtual Buffer allocate(std::size_t n_bytes) = 0;
  virtual void copy_in(std::byte* device, std::span<const std::byte> host) = 0;
  virtual void copy_out(std::span<std::byte> host, const std::byte* device) = 0;

  /// Brings a checkpoint matrix into this backend's layout; `source` may go away afterwards.
  virtual std::unique_ptr<Weight> load_weight(const WeightSource& source) = 0;
  /// Whether load_weight makes bytes that are drawn, not stored, in its own memory.
  virtual bool draws_weights() const { return false; }
  /// Whether weights may lie in host memory apart from the backend's own.
  virtual bool reads_host_weights() const { return false; }
  /// Bytes that load_weight keeps for such a matrix.
  virtual std::size_t weight_bytes(const WeightSource& source) const = 0;

  /// Runs `body`, a series of operations, as one step.
  ///
  /// A backend may record what `body` does and, when `key` comes again, repeat the recording without
  /// calling it.
  /// Requires  for one key, operations with the same arguments on memory at the same addresses,
  ///           except step_begin and first_position, which then lie in their cells; no copies
  virtual void run_step(std::span<const std::uint64_t> key, const std::function<void()>& body) {
    (void)key;
    body();
  }
  /// From now on run_step calls every body, as a backend without recordings does anyway.
  virtual void launch_directly() {}

  /// From now on every call adds its cost to `counter`, which must outlive the backend; null stops.
  ///
  /// Where the host cannot read the backend's memory nothing is counted: costs depend on which rows
  /// were selected.
  void count_into(OpCounter* counter) { counter_ = counter; }

  void embed(const EmbedArgs& a) { check_readable(a), count("embed", a), do_embed(a); }
  void linear(const LinearArgs& a) { check(a), count("linear", a), do_linear(a); }
  void rms_norm(const RmsNormArgs& a) { check(a), count("rms_norm", a), do_rms_norm(a); }
  void add_to_streams(const AddToStreamsArgs& a) {
    check(a), count("add_to_streams", a), do_add_to_streams(a);
  }
  void hyper_pre(const HyperPreArgs& a) { check(a), count("hyper_pre", a), do_hyper_pre(a); }
  void hyper_post(const HyperPostArgs& a) { check(a), count("hyper_post", a), do_hyper_post(a); }
  void hyper_head(const HyperHeadArgs& a) { check(a), count("hyper_head", a), do_hyper_head(a); }
  void query(const QueryArgs& a) { check(a), count("query", a), do_query(a); }
  void window_rows(const WindowRowsArgs& a) {
    check(a), count("window_rows", a), do_window_rows(a);
  }
  void commit_window(const CommitWindowArgs& a) {
    check(a), count("commit_window", a), do_commit_window(a);
  }
  void index_query(const IndexQueryArgs& a) {
    check(a), count("index_query", a), do_index_query(a);
  }
  void compress(const CompressArgs& a) { check(a), count("compress", a), do_compress(a); }
  void select(const SelectArgs& a) { check_readable(a), count("select", a), do_select(a); }
  /// Calls that need not see each other's results, such as those of several sequences.
  void select_all(std::span<const SelectArgs> all) {
    for (const SelectArgs& a : all) check_readable(a), count("select", a);
    do_select_all(all);
  }
  void attend(const AttendArgs& a) { check_readable(a), count("attend", a), do_attend(a); }
  /// Calls that need not see each other's results, such as those of several sequences.
  void attend_all(std::span<const AttendArgs> all) {
    for (const AttendArgs& a : all) check_readable(a), count("attend", a);
    do_attend_all(all);
  }
  void route(const RouteArgs& a) { check_readable(a), count("route", a), do_route(a); }
  void experts(const ExpertsArgs& a) { check_readable(a), count("experts", a), do_experts(a); }

 private:
  template <typename Args>
  void count(const char* op, const Args& a) {
    if (counter_ != nullptr && host_readable()) counter_->add(op, cost(a));
  }
  // For arguments whose check reads the memory that they point to.
  template <typename Args>
  void check_readable(const Args& a) const {
    if (host_readable()) check(a);
  }

  virtual void do_embed(const EmbedArgs& a) = 0;
  virtual void do_linear(const LinearArgs& a) = 0;
  virtual void do_rms_norm(const RmsNormArgs& a) = 0;
  virtual void do_add_to_streams(const AddToStreamsArgs& a) = 0;
  virtual void do_hyper_pre(const HyperPreArgs& a) = 0;
  virtual void do_hyper_post(const HyperPostArgs& a) = 0;
  virtual void do_hyper_head(const HyperHeadArgs& a) = 0;
  virtual void do_query(const QueryArgs& a) = 0;
  virtual void do_window_rows(const WindowRowsArgs& a) = 0;
  virtual void do_commit_window(const CommitWindowArgs& a) = 0;
  virtual void do_index_query(const IndexQueryArgs& a) = 0;
  virtual void do_compress(const CompressArgs& a) = 0;
  virtual void do_select(const SelectArgs& a) = 0;
  virtual void do_select_all(std::span<const SelectArgs> all) {
    for (const SelectArgs& a : all) do_select(a);
  }
  virtual void do_attend(const AttendArgs& a) = 0;
  virtual void do_attend_all(std::span<const AttendArgs> all) {
    for (const AttendArgs& a : all) do_attend(a);
  }
  virtual void do_route(const RouteArgs& a) = 0;
  virtual void do_experts(const ExpertsArgs& a) = 0;

  OpCounter* counter_ = nullptr;
};

}  // namespace precis
