terraform {
  required_version = ">= 1.9"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.33, < 9" # 7.33: deletion_policy on every resource
    }
  }
}
