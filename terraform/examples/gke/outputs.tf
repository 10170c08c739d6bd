output "launcher" {
  description = "How to use the platform: the very content of platform.json in the control bucket."
  value       = module.platform.launcher
}
