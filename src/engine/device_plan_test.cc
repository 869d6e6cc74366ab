#include "engine/device_plan.h"

#include <gtest/gtest.h>

#include "checkpoint/safetensors.h"
#include "model/model_test_util.h"

namespace precis {
namespace {

DevicePlan plan_of_mini(int n_host_experts) {
  const ModelConfig config = load_config(PRECIS_MODELS "/mini").value();
  const Checkpoint checkpoint = std::move(Checkpoint::open(PRECIS_MODELS "/mini")).value();
  return device_plan(config, checkpoint, ComputeMode::kRelease, 1000, {n_host_experts});
}

TEST(DevicePlan, ExpertsOnTheHostAreCountedThere) {
  const Checkpoint checkpoint = std::move(Checkpoint::open(PRECIS_MODELS "/mini")).value();
  const DevicePlan all = plan_of_mini(0);
  EXPECT_EQ(all.weights, static_cast<std::int64_t>(checkpoint.payload_bytes()));
  EXPECT_EQ(all.host_weights, 0);
  EXPECT_GT(all.cache, 0);
  const DevicePlan half = plan_of_mini(8);
  const DevicePlan none = plan_of_mini(16);
  EXPECT_EQ(2 * half.host_weights, none.host_weights);
  EXPECT_EQ(half.weights + half.host_weights, all.weights);
  EXPECT_EQ(none.weights + none.host_weights, all.weights);
  EXPECT_GT(none.host_weights, 0);
  EXPECT_EQ(half.n_layers, 7);
  EXPECT_EQ(half.n_experts, 16);
  EXPECT_EQ(half.n_host_experts, 8);
}

TEST(DevicePlan, MoreThanTheHostHasIsRefused) {
  const DevicePlan plan = plan_of_mini(4);
  EXPECT_TRUE(check_host_fits(plan, plan.host_weights).ok());
  expect_error(check_host_fits(plan, plan.host_weights - 1), ErrorCode::kBudget,
               {"host memory", "4 of 16 experts"});
}

}  // namespace
}  // namespace precis
