-- Rollback: 008_orders_by_customer
-- Description: Removes the index while the shop stays open
-- Author: Jon Brandt
-- Date: 2025-04-07
-- Transaction: false

DROP INDEX CONCURRENTLY shop.orders_by_customer;
