# Reference distributions for the bootstrap's tests: Rscript make.R <tests/reference> > r.json
# (R 4.2.2, lme4 1.1-31 bootMer, RLRsim 3.1-8.)
suppressMessages({library(lme4); library(RLRsim); library(jsonlite)})
root <- commandArgs(TRUE)[1]
read <- function(case) read.csv(file.path(root, case, "data.csv"), check.names = FALSE, na.strings = "")
at <- c(0.025, 0.25, 0.5, 0.75, 0.975)
summarise <- function(draws) lapply(as.data.frame(draws, optional = TRUE), function(x) {
  zero <- mean(abs(x) < 0.01 * sd(x, na.rm = TRUE), na.rm = TRUE)  # lme4's zeros are not exact
  list(mean = mean(x, na.rm = TRUE), sd = sd(x, na.rm = TRUE), quantiles = unname(quantile(x, at, na.rm = TRUE)), zero = zero)
})
boot <- function(fit, n) {
  statistic <- function(f) {
    v <- as.data.frame(VarCorr(f))
    sd <- setNames(v$sdcor, ifelse(is.na(v$var2), paste(v$grp, ifelse(is.na(v$var1), "", v$var1)), paste(v$grp, "correlation")))
    c(fixef(f), sd)
  }
  b <- suppressMessages(suppressWarnings(bootMer(fit, statistic, nsim = n, seed = 1)))
  list(n = n, draws = summarise(b$t))
}
out <- list(quantiles = at)
sleep <- read("sleepstudy")
out$bootMer$sleepstudy_rs_REML <- boot(lmer(Reaction ~ Days + (Days | Subject), sleep), 2000)
pastes <- read("pastes")
names(pastes)[names(pastes) == "batch"] <- "b"; pastes$cask_in <- interaction(pastes$b, pastes$cask, drop = TRUE)
out$bootMer$pastes_ml_ML <- boot(lmer(strength ~ 1 + (1 | b) + (1 | cask_in), pastes, REML = FALSE), 2000)
exact <- function(case, y, group, x, n = 2e5) {
  d <- read(case)
  X <- model.matrix(as.formula(paste("~", x)), d)
  Z <- model.matrix(~ 0 + factor(d[[group]]))
  set.seed(1)
  restricted <- RLRTSim(X, Z, qr(X), diag(ncol(Z)), nsim = n)
  full <- LRTSim(X, Z, 0, diag(ncol(Z)), nsim = n)
  list(n = n, RLRT = list(zero = mean(restricted < 1e-7), quantiles = unname(quantile(restricted, c(0.75, 0.9, 0.95, 0.99)))),
    LRT = list(zero = mean(full < 1e-7), quantiles = unname(quantile(full, c(0.75, 0.9, 0.95, 0.99)))))
}
out$exact$dyestuff <- exact("dyestuff", "Yield", "Batch", "1")
out$exact$orthodont_girls <- exact("orthodont_girls", "distance", "Subject", "age")
out$exact$sleepstudy <- exact("sleepstudy", "Reaction", "Subject", "Days")
cat(toJSON(out, digits = 12, auto_unbox = TRUE, pretty = TRUE), "\n")
