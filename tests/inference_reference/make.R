# Reference values of marginal means, marginal effects, tests and scores: Rscript make.R, in this folder.
suppressMessages({library(lmerTest); library(emmeans); library(plm); library(jsonlite)})
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhobeg = .05, rhoend = 1e-9, maxfun = 1e5),
                       check.conv.grad = "ignore", check.conv.hess = "ignore", check.conv.singular = "ignore")
d <- read.csv("schools.csv", stringsAsFactors = TRUE)
d$n <- factor(d$n)
plain <- function(e) lapply(as.list(as.data.frame(summary(e, infer = TRUE))), unname)
out <- list()

means <- function(formula, factor, weights = NULL, df = "satterthwaite") {
  emm_options(lmer.df = df)
  d$w__ <- if (is.null(weights)) 1 else weights
  e <- emmeans(lmer(as.formula(formula), d, weights = w__, control = control), factor)
  list(formula = formula, factor = factor, weights = if (is.null(weights)) "" else "w", df = df,
       means = plain(e), tukey = plain(pairs(e)))
}
out$means <- list(
  means("y ~ f + I(x^2) + x + (1 | r/s)", "f", d$w),
  means("y ~ f * I(x^2) + x + (1 | r/s)", "f"),
  means("y ~ f * poly(x, 2) + (1 | r/s)", "f"),
  means("y ~ f * log(xp) + (1 | r)", "f"),
  means("y ~ f + f:x + n:log(z) + (1 | r)", "n"),
  means("y ~ f * x + n + (1 + x | r/s)", "f", df = "kenward-roger"))

# Average marginal effects by central differences of the model matrix.
effects <- function(m, column, by = NULL) {
  moved <- function(step) { u <- d; u[[column]] <- u[[column]] + step; model.matrix(delete.response(terms(m)), u) }
  slopes <- ((moved(1e-5) - moved(-1e-5)) / 2e-5)[, names(fixef(m))]
  rows <- if (is.null(by)) matrix(colMeans(slopes), 1) else
    t(sapply(levels(d[[by]]), function(k) colMeans(slopes[d[[by]] == k, ])))
  list(column = column, by = if (is.null(by)) "" else by, estimate = as.numeric(rows %*% fixef(m)),
       se = sqrt(diag(rows %*% as.matrix(vcov(m)) %*% t(rows))), df = apply(rows, 1, function(r) contest1D(m, r)$df))
}
formula <- "y ~ f * x * h + I(x^2) + log(z):n + (1 + x | r/s)"
m <- lmer(as.formula(formula), d, control = control)
out$effects <- list(formula = formula, found = list(effects(m, "x"), effects(m, "x", "f"), effects(m, "z", "n")))

# Scores of groups left out and of the last periods, conditional on the other rows; R2 of Snijders and Bosker.
d$rs <- factor(paste(d$r, d$s))
density <- function(m, d) {
  v <- VarCorr(m)
  cov <- sigma(m)^2 * diag(nrow(d)) + as.numeric(v$r) * outer(d$r, d$r, "==") + as.numeric(v$rs) * outer(d$rs, d$rs, "==")
  z <- backsolve(chol(cov), d$y - as.numeric(model.matrix(~ x + f, d) %*% fixef(m)), transpose = TRUE)
  -sum(log(diag(chol(cov)))) - nrow(d) / 2 * log(2 * pi) - sum(z^2) / 2
}
score <- function(d, drop) {
  m <- lme4::lmer(y ~ x + f + (1 | r) + (1 | rs), droplevels(d[!drop, ]), REML = FALSE, control = control)
  density(m, d) - density(m, d[!drop, ])
}
full <- lme4::lmer(y ~ x + f + (1 | r) + (1 | rs), d, REML = FALSE, control = control)
null <- update(full, . ~ . - x - f)
parts <- function(m) c(as.numeric(VarCorr(m)$r), as.numeric(VarCorr(m)$rs), sigma(m)^2)
rows_s <- table(d$rs)
share <- sapply(levels(d$r), function(k) { n <- table(droplevels(d$rs[d$r == k])); sum((n / sum(n))^2) })
weights <- list(rows = c(1, 1, 1), r = c(1, mean(share), mean(1 / table(d$r))), `r/s` = c(1, 1, mean(1 / rows_s)))
out$scores <- list(
  formula = "y ~ x + f + (1 | r/s)",
  r = sum(sapply(levels(d$r), function(g) score(d, d$r == g))),
  `r/s` = sum(sapply(levels(d$rs), function(g) score(d, d$rs == g))),
  ahead = sum(sapply(tail(sort(unique(d$t)), 5), function(t) { e <- d[d$t <= t, ]; score(e, e$t == t) })),
  snijders_bosker = lapply(weights, function(w) 1 - sum(w * parts(full)) / sum(w * parts(null))))

# Hausman's test where a predictor does not vary within units; Driscoll-Kraay by lags.
p <- pdata.frame(read.csv("firms.csv", stringsAsFactors = TRUE), index = c("i", "t"))
h <- phtest(plm(y ~ x + q + ff + z, p, model = "within"), plm(y ~ x + q + ff + z, p, model = "random"))
out$hausman <- c(unname(h$statistic), unname(h$parameter))
pooled <- plm(y ~ x + h, p, model = "pooling")
out$driscoll_kraay <- lapply(0:3, function(lags) unname(sqrt(diag(vcovSCC(pooled, type = "HC0", maxlag = lags)))))

# Continuous-time AR(1) errors on uneven times.
v <- read.csv("visits.csv")
serial <- function(method) {
  m <- nlme::lme(y ~ x, v, random = ~ 1 | g, correlation = nlme::corCAR1(form = ~ t | g), method = method,
                 control = nlme::lmeControl(msTol = 1e-11, tolerance = 1e-9))
  list(loglik = as.numeric(logLik(m)), rho = unname(coef(m$modelStruct$corStruct, unconstrained = FALSE)))
}
out$car1 <- list(ml = serial("ML"), reml = serial("REML"))

# A crossed effect of time: fitted values, and predictions for a new period, a known one, a new firm.
firms <- read.csv("firms.csv", stringsAsFactors = TRUE)
m <- lme4::lmer(y ~ x + h + (1 | s/i) + (1 | t), firms, control = control)
rows <- transform(firms[c(1, 2, 30), c("s", "i", "t", "x", "h")], t = c(99, 3, 5), i = c("i01", "i01", "new"))
out$crossed <- list(fitted = unname(fitted(m)[1:4]), new = unname(predict(m, rows, allow.new.levels = TRUE)),
                    scaled = unname(residuals(m, type = "pearson", scaled = TRUE)[1:4]))

# Kenward and Roger (1997) on dense matrices: pbkrtest 0.5.2 leaves prior weights out of Sigma.
kenward_roger <- function(m, w) {
  X <- getME(m, "X"); p <- ncol(X); v <- as.data.frame(VarCorr(m))$vcov
  G <- c(lapply(getME(m, "Ztlist"), function(z) as.matrix(Matrix::crossprod(z))), list(diag(1 / w)))
  V <- Reduce(`+`, Map(`*`, G, v)); Vi <- solve(V); phi <- solve(t(X) %*% Vi %*% X); r <- length(G)
  P <- lapply(G, function(g) -t(X) %*% Vi %*% g %*% Vi %*% X)
  Q <- function(i, j) t(X) %*% Vi %*% G[[i]] %*% Vi %*% G[[j]] %*% Vi %*% X
  trace <- function(a) sum(diag(a))
  info <- outer(1:r, 1:r, Vectorize(function(i, j) trace(Vi %*% G[[i]] %*% Vi %*% G[[j]]) / 2 - trace(phi %*% Q(i, j)) +
    trace(phi %*% P[[i]] %*% phi %*% P[[j]]) / 2))
  W <- solve(info); middle <- matrix(0, p, p)
  for (i in 1:r) for (j in 1:r) middle <- middle + W[i, j] * (Q(i, j) - P[[i]] %*% phi %*% P[[j]])
  df <- sapply(1:p, function(k) {  # one contrast: 2 / A1
    g <- sapply(P, function(a) (phi %*% a %*% phi)[k, k] / phi[k, k]); 2 / as.numeric(t(g) %*% W %*% g) })
  list(se = unname(sqrt(diag(phi + 2 * phi %*% middle %*% phi))), df = df)
}
m <- lme4::lmer(y ~ x + z + f + (1 | r/s), d, weights = w, control = control)
# Effective degrees of freedom by moving every outcome a little: fitted values follow, variances estimated anew.
moved <- function(i, step) { e <- d; e$y[i] <- e$y[i] + step
  fitted(lme4::lmer(y ~ x + z + f + (1 | r/s), e, weights = w, control = control, start = getME(m, "theta")))[i] }
step <- 1e-3 * sd(d$y)
out$weighted <- c(kenward_roger(m, d$w), list(terms = names(fixef(m)),
  caic_df = 1 + sum(sapply(seq_len(nrow(d)), function(i) (moved(i, step) - moved(i, -step)) / (2 * step)))))
write_json(out, "r.json", digits = NA, auto_unbox = TRUE, pretty = TRUE)
