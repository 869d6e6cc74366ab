// The operations of the CUDA backend, one .cu per folder of kernels.  Arguments hold device memory.
#pragma once

#include "backend/cuda/device.h"
#include "backend/cuda/experts/tables.h"
#include "ops/attend.h"
#include "ops/compress.h"
#include "ops/embed.h"
#include "ops/experts.h"
#include "ops/hyper.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "ops/query.h"
#include "ops/select.h"

namespace precis::cuda {

void embed(Device& device, const EmbedArgs& args);
void linear(Device& device, const LinearArgs& args);
void rms_norm(Device& device, const RmsNormArgs& args);
void add_to_streams(Device& device, const AddToStreamsArgs& args);
void hyper_pre(Device& device, const HyperPreArgs& args);
void hyper_post(Device& device, const HyperPostArgs& args);
void hyper_head(Device& device, const HyperHeadArgs& args);
void query(Device& device, const QueryArgs& args);
void window_rows(Device& device, const WindowRowsArgs& args);
void commit_window(Device& device, const CommitWindowArgs& args);
void index_query(Device& device, const IndexQueryArgs& args);
void compress(Device& device, const CompressArgs& args);
void select(Device& device, std::span<const SelectArgs> all);
void attend(Device& device, std::span<const AttendArgs> all);
void route(Device& device, const RouteArgs& args);
void experts(Device& device, ExpertTables& tables, const ExpertsArgs& args);

}  // namespace precis::cuda
