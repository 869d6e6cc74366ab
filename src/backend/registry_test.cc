#include "backend/registry.h"

#include <algorithm>
#include <cstdlib>

#include <gtest/gtest.h>

#include "base/threads.h"

namespace precis {
namespace {

class Registry : public testing::Test {
 protected:
  void TearDown() override { unsetenv("PRECIS_FORCE_ISA"); }
  ThreadPool threads_{1};
};

TEST_F(Registry, MakesEveryNameThatItLists) {
  for (const std::string& name : backend_names()) {
    const auto made = make_backend(name, threads_);
    ASSERT_TRUE(made.ok()) << name << ": " << made.error().message;
    EXPECT_EQ((*made)->name(), name);
  }
}

TEST_F(Registry, AutoIsTheGpuWhereThereIsOne) {
  const auto names = backend_names();
  const bool has_gpu = std::find(names.begin(), names.end(), "cuda") != names.end();
  EXPECT_EQ((*make_backend("auto", threads_))->name(), has_gpu ? "cuda" : "cpu");
}

TEST_F(Registry, CudaWithoutAGpuIsAnErrorThatSaysWhy) {
  const auto made = make_backend("cuda", threads_);
  if (made.ok()) GTEST_SKIP() << "this machine has one";
  EXPECT_EQ(made.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(list_accelerators().error().message, made.error().message);
}

TEST_F(Registry, UnknownNameIsAnErrorThatRepeatsIt) {
  const auto made = make_backend("gpu", threads_);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(made.error().message.find("\"gpu\""), std::string::npos) << made.error().message;
}

TEST_F(Registry, ForcedInstructionSetRuns) {
  setenv("PRECIS_FORCE_ISA", "baseline", 1);
  EXPECT_EQ((*make_backend("cpu", threads_))->isa(), "baseline");
}

TEST_F(Registry, UnknownInstructionSetIsAnErrorThatRepeatsIt) {
  setenv("PRECIS_FORCE_ISA", "avx1024", 1);
  const auto made = make_backend("cpu", threads_);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(made.error().message.find("\"avx1024\""), std::string::npos) << made.error().message;
}

}  // namespace
}  // namespace precis
