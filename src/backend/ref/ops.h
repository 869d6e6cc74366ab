// The operations of the reference backend, one .cc per header of ops/.  Arguments are checked by
// the caller.
#pragma once

#include "ops/backend.h"

namespace precis::ref {

void embed(const EmbedArgs& args);
void linear(const LinearArgs& args);
void rms_norm(const RmsNormArgs& args);
void add_to_streams(const AddToStreamsArgs& args);
void hyper_pre(const HyperPreArgs& args);
void hyper_post(const HyperPostArgs& args);
void hyper_head(const HyperHeadArgs& args);
void query(const QueryArgs& args);
void window_rows(const WindowRowsArgs& args);
void commit_window(const CommitWindowArgs& args);
void index_query(const IndexQueryArgs& args);
void compress(const CompressArgs& args);
void select(const SelectArgs& args);
void attend(const AttendArgs& args);
void route(const RouteArgs& args);
void experts(const ExpertsArgs& args);

}  // namespace precis::ref
