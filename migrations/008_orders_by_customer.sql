-- Migration: 008_orders_by_customer
-- Description: An index for the list of a customer's orders, built while the shop stays open
-- Author: Jon Brandt
-- Date: 2025-04-07
-- Transaction: false

-- CONCURRENTLY cannot run inside a transaction, hence the key above and a file with one statement.
CREATE INDEX CONCURRENTLY orders_by_customer ON shop.orders (customer_id, created_at DESC);
