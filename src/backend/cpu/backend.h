// The CPU backend: operations on host memory with SIMD kernels, spread over one thread pool.
//
// What keeps results independent of T, chunking, threads and instruction set (docs/numerics.md):
// SIMD lanes run across outputs, every sum has one fixed order, and parallel loops never reduce.
// Each operation lives in the file of its name; this class only holds what they share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/cpu/attend_task.h"
#include "backend/cpu/dispatch.h"
#include "backend/cpu/scratch.h"
#include "base/threads.h"
#include "ops/backend.h"

namespace precis {

class CpuBackend final : public Backend {
 public:
  /// `threads` must outlive the backend.
  CpuBackend(ThreadPool& threads, Isa isa);

  std::string name() const override { return "cpu"; }
  std::string isa() const override { return std::string(isa_name(isa_)); }

  Buffer allocate(std::size_t n_bytes) override;
  void copy_in(std::byte* device, std::span<const std::byte> host) override;
  void copy_out(std::span<std::byte> host, const std::byte* device) override;
  std::unique_ptr<Weight> load_weight(const WeightSource& source) override;
  std::size_t weight_bytes(const WeightSource& source) const override;

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

  /// One task of do_attend on all threads, with the same bits as on one.
  void attend_in_parts(const AttendArgs& a, const AttendTask& task, std::byte* sums,
                       std::size_t tile_bytes);

  /// x as a product sees it: x itself, or its quantised values in `scratch`.
  Mat<const float> quantized(Mat<const float> x, InputQuant input, ScratchBuffer& scratch);

  ThreadPool& threads_;
  const Isa isa_;
  // An operation may use all of these; nothing in them outlives the operation.
  std::vector<ScratchBuffer> worker_scratch_;  // [threads_.n_threads()], one for each worker
  ScratchBuffer input_scratch_;                // quantised inputs
  ScratchBuffer shared_input_scratch_;         // of the shared expert, where they differ
  ScratchBuffer hidden_scratch_;               // between the two products of the experts
  ScratchBuffer result_scratch_;               // before results are combined
};

/// The CPU backend on the instruction set that choose_isa() names.
///
/// Errors    as choose_isa
Result<std::unique_ptr<Backend>> make_cpu_backend(ThreadPool& threads);

}  // namespace precis
