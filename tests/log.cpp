// What a progress display and drawn pictures look like.
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "tandem/core/factory.h"
#include "tandem/log/progress.h"

namespace {

using namespace tandem;

std::string shown(ProgressOptions options, int64_t steps, int pause_ms) {
  std::string text;
  options.write = [](std::string_view t, void* user) { *static_cast<std::string*>(user) += t; };
  options.user = &text;
  Progress progress(options);
  EXPECT_EQ(text, "");
  for (int64_t i = 0; i < steps; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
    progress.update(10, {{"loss", 0.5 / double(i + 1)}});
  }
  progress.finish();
  progress.finish();
  return text;
}

TEST(Progress, PlainLinesOutsideATerminal) {
  const std::string text = shown({.total = 4, .label = "epoch 1/2"}, 4, 1);
  EXPECT_TRUE(text.starts_with("epoch 1/2  100 %  loss 0.125  ")) << text;
  EXPECT_TRUE(text.ends_with(" images/s  took 0:01\n")) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  const std::string often = shown({.total = 4, .unit = "words", .line_seconds = 0}, 4, 1);
  EXPECT_EQ(std::count(often.begin(), often.end(), '\n'), 5);
  EXPECT_TRUE(often.starts_with(" 25 %  loss 0.5  ")) << often;
  EXPECT_NE(often.find(" words/s  0:01 left\n"), std::string::npos) << often;
}

TEST(Progress, ABarRedrawsItsLine) {
  const std::string text =
      shown({.total = 2, .label = "x", .bar = true, .line_seconds = 0}, 2, 110);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\r'), 3) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_NE(text.find("████████████░░░░░░░░░░░░   50 %"), std::string::npos) << text;
  EXPECT_NE(text.find("████████████████████████  100 %"), std::string::npos) << text;
}

TEST(Progress, Numbers) {
  EXPECT_EQ(duration_text(0), "0:00");
  EXPECT_EQ(duration_text(61.2), "1:02");
  EXPECT_EQ(duration_text(3723), "1:02:03");
  EXPECT_EQ(thousands(0), "0");
  EXPECT_EQ(thousands(1234567.4), "1,234,567");
  EXPECT_EQ(thousands(-1000), "-1,000");
  EXPECT_EQ(thousands(-100), "-100");
}

TEST(Pictures, ShadesAndCharacters) {
  const Tensor images = wrap(std::vector<uint8_t>{0, 255, 0, 255, 9, 9, 9, 9}, {2, 2, 2});
  const std::string names[] = {"a", "long"};
  // Rows of two pixels are one row of characters; a picture of one shade is all darkest.
  EXPECT_EQ(draw_images(images, names, false), " @      \na   lo\n");
  EXPECT_EQ(draw_images(images.narrow(0, 0, 1), {}, true),
            "\x1b[38;5;232;48;5;232m▀\x1b[38;5;255;48;5;255m▀\x1b[0m  \n");
  EXPECT_THROW(draw_images(zeros({2, 2})), ShapeError);
}

}  // namespace
